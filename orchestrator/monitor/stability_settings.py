"""Thresholds of the loss stability rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StabilitySettings:
    """Thresholds; the defaults are the ones that the corpus in the tests vouches for."""

    spike_sigmas: float = 4.25
    spike_risk: float = 5e-5
    """Share of noisy steps, with the tail that this run has, that may pass for a spike."""
    least_noise: float = 0.002
    """Noise below 0.2 % of the level counts as that: tiny wiggles are no spikes."""
    least_rise: float = 0.003
    """A spike or divergence must raise the loss by this share of its first level."""
    divergence_rise: float = 0.3
    plateau_steps: int = 500
    plateau_fall: float = 0.02
    converged_fall: float = 0.5
    """A loss that fell by more than this share since the start is never called stuck."""
    jitter: float = 0.8
    overfitting_loss: float = 0.05
    overfitting_evaluations: int = 3
    findings_per_kind: int = 20
    """More of one kind are only counted, and the count is reported by `finish`."""
