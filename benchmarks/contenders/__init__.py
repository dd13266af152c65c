"""The contenders: one file each, behind one small Protocol. Each trains in child processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.workload import Workload


@dataclass(frozen=True)
class Trained:
    """Measurements of one training, from the command that started it to its end."""

    steps: int
    samples: int
    seconds: float
    """Duration of steady training, without launch, compilation and warm-up."""
    first_step: float | None
    """Seconds from the command to the end of the first training step; None if it was not measured."""
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
        """Train `workload` to its end. `cores`: the core to which each worker is pinned."""
