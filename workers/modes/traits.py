"""`ModeTraits`: what the rest of Regatta needs to know about a mode. The rows are in `workers.modes.registry`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from workers.messages import Task
from workers.modes.names import NameForm

TARGET_CALL_SECONDS = 0.1
"""Seconds of training that a call of fused steps aims at."""
Waits = Literal["nothing", "workers", "servers", "rounds", "quorum", "bound"]


@dataclass(frozen=True)
class ModeTraits:
    """What the rest of Regatta needs to know about a mode."""

    summary: str
    """One line for the user."""
    implementation: str | None = None
    """`module:Class` of its `workers.modes.mode.Mode`; imported by the tasks that train. None if it has `stages`."""
    stages: tuple[str, ...] = ()
    """The two modes that it trains in one after another, each in a worker group of its own."""
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
    bounded: bool = False
    """A worker that is too far ahead waits for the slowest."""
    alone: bool = False
    """Has one worker, whatever a spec says: what distributing is measured against."""
    form: NameForm = field(default_factory=NameForm)
    """What its names carry, such as the 16 of `local:16`."""
    same_as: Mapping[int | None, str] = field(default_factory=dict)
    """The mode that it is with a given number, and whose row holds then."""
    spares: bool = False
    """Its number is of workers that an update does without."""
    gathers: bool = False
    """Its number is of the gradients that an update is the mean of."""
    source: str = ""
    """The paper that describes it."""
    equals: str = ""
    """The limit in which it is another mode, or `fit`."""
    shares_memory: bool = False
    """Workers on one host share their training state in memory, if the model allows it; otherwise, and on several
    hosts, it is on parameter servers."""
    one_device: bool = False
    """A worker has one device at most."""
    waits_for: Waits | None = None
    """What a worker's step waits for besides its own work, from which its time is predicted: nothing; all workers; its
    turn at the servers; all workers at the end of a round; a quorum of them; or the slowest, if it is further behind
    than a bound. None if there is no such prediction for the mode."""

    def load(self) -> Any:
        """Import and return the class of the mode."""
        if self.implementation is None:
            raise RuntimeError("each stage of the mode has a class of its own")
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


def _workers(count: int) -> tuple[Task, ...]:
    return tuple(Task("worker", index) for index in range(count))
