"""What a simulation ends with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Simulated:
    """What the simulated workers did."""

    seconds: float
    batches: int
    """Steps of single workers: a step that all take together counts once for each."""
    updates: int
    waiting: float
    """Mean share of their time in which workers neither slept nor computed."""
    staleness: float | None = None
    """Mean number of updates by others between a step's read of the weights and its own; None if there are none."""
