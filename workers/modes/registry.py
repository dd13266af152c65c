"""The registry of modes, one row each. Driver and replicas use it; no code elsewhere tests for a mode's name.

A new mode is one file next to this one and one row in `MODES` (CONTRIBUTING.md, "Add a mode").
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from workers.messages import Task


@dataclass(frozen=True)
class ModeTraits:
    """What the rest of Regatta needs to know about a mode."""

    implementation: str
    """`module:Class` of its `workers.modes.mode.Mode`; imported by the tasks that train."""
    summary: str
    """One line for the user."""
    chief: bool = False
    """A chief runs the training loop, on devices that workers lend it, with the weights on parameter servers. Otherwise
    the workers run it, and worker:0 leads."""
    lockstep: bool = True
    """All workers take each step together, and it consumes one batch of every replica. Otherwise each worker's update
    counts as a step and has a staleness, and the other workers continue without a lost worker."""
    balances: bool = False
    """Supports `balance`: faster workers get a larger share of each step's samples."""
    calls_in_flight: int = 1
    """Calls scheduled per worker at a time."""
    alone: bool = False
    """Has one worker, whatever a spec says: what distributing is measured against."""

    def load(self) -> Any:
        """Import and return the class of the mode."""
        module, _, name = self.implementation.partition(":")
        return getattr(import_module(module), name)

    @property
    def leader(self) -> Task:
        """The task that reports losses and takes snapshots."""
        return Task("chief", 0) if self.chief else Task("worker", 0)

    def trainers(self, workers: int) -> tuple[Task, ...]:
        """The tasks that run the training loop, the leader first."""
        return (self.leader,) if self.chief else _workers(workers)

    def serves(self, task: Task) -> bool:
        """Whether `task` only runs a TensorFlow server."""
        return self.chief and task.type in ("worker", "ps")

    def replaceable(self, workers: int) -> tuple[Task, ...]:
        """The tasks without which training continues until they are replaced."""
        return _workers(workers) if not self.lockstep and workers > 1 else ()

    def tasks(self, workers: int, servers: int) -> tuple[Task, ...]:
        """All training tasks, in the order of their bundles."""
        own = (Task("chief", 0), *(Task("ps", index) for index in range(servers))) if self.chief else ()
        return (*own, *_workers(workers))

    def batches_per_step(self, workers: int, replicas_per_worker: float) -> int:
        """Batches that one counted step consumes."""
        return workers * max(1, int(replicas_per_worker)) if self.lockstep else 1


MODES: dict[str, ModeTraits] = {
    "single": ModeTraits(
        implementation="workers.modes.sync:SyncMode",  # which exchanges nothing if it has one worker
        summary="one process trains alone, with the samples per update of the mode it is compared with",
        alone=True,
    ),
    "sync": ModeTraits(
        implementation="workers.modes.sync:SyncMode",
        summary="all workers take each step together; gradients are averaged by all-reduce",
        balances=True,
    ),
    "async": ModeTraits(
        implementation="workers.modes.async_:AsyncMode",
        summary="each worker updates the weights on parameter servers when it is ready",
        chief=True,
        lockstep=False,
        # One call runs and one waits, so that no worker idles for a round trip to the chief.
        calls_in_flight=2,
    ),
}
COMPARED_BY_DEFAULT = ("single", "sync", "async")
"""The baseline first."""


def traits(mode: str) -> ModeTraits:
    """Return the row of `mode`; raises KeyError if there is none."""
    return MODES[mode]


def _workers(count: int) -> tuple[Task, ...]:
    return tuple(Task("worker", index) for index in range(count))
