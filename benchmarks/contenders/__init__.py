"""Who takes part: one file each, behind one small Protocol. Each runs in processes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.workload import Workload


@dataclass(frozen=True)
class Trained:
    """One training, from the command that started it to its end."""

    steps: int
    samples: int
    seconds: float
    """Steady training: without start, compilation and warm-up."""
    first_step: float | None
    """Seconds from the command to the end of the first training step; None where it was not looked for."""
    total: float
    """Seconds from the command to the end of its process."""

    @property
    def steps_per_s(self) -> float:
        return self.steps / self.seconds

    @property
    def samples_per_s(self) -> float:
        return self.samples / self.seconds


class Contender(Protocol):
    name: str

    @property
    def needs(self) -> Sequence[str]:
        """Modules that have to be installed."""

    def train(self, workload: Workload, cores: Sequence[int] | None = None) -> Trained:
        """Train `workload` to its end. `cores`: one per worker, which each is pinned to."""
