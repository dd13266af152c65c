"""The modes that exist, one row each. Driver and replicas read it; nothing else asks for a mode by its name.

A new mode is one file beside this one and one row here.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.messages import Task


@dataclass(frozen=True)
class ModeTraits:
    """What the rest of Regatta needs to know about a mode."""

    implementation: str
    """`module:Class` of its `workers.modes.Mode`; imported by the tasks that train."""
    summary: str
    """One line for people."""
    chief: bool = False
    """A chief trains, with workers that lend their devices and parameter servers that hold the weights. Otherwise
    the workers train, and worker:0 leads."""
    lockstep: bool = True
    """Each counted step consumes one batch of every replica. Otherwise each worker's update counts as a step of its
    own, has a staleness, and the other workers continue without a worker that is lost."""
    balances: bool = False
    """Can give faster workers a larger share of each step (`balance`)."""
    calls_in_flight: int = 1
    """Calls handed to each worker at a time."""

    @property
    def leader(self) -> Task:
        """The task that reports losses and takes snapshots."""
        return Task("chief", 0) if self.chief else Task("worker", 0)

    def trainers(self, workers: int) -> tuple[Task, ...]:
        """The tasks that run the training loop, the leader first."""
        return (self.leader,) if self.chief else _workers(workers)

    def serves(self, task: Task) -> bool:
        """Whether `task` only runs a TensorFlow server."""
        return self.chief and task != self.leader

    def replaceable(self, workers: int) -> tuple[Task, ...]:
        """The tasks that training continues without until they are replaced."""
        return _workers(workers) if not self.lockstep and workers > 1 else ()

    def tasks(self, workers: int, servers: int) -> tuple[Task, ...]:
        """All training tasks, in the order of their bundles."""
        own = (Task("chief", 0), *(Task("ps", index) for index in range(servers))) if self.chief else ()
        return (*own, *_workers(workers))

    def batches_per_step(self, workers: int, replicas_per_worker: float) -> int:
        """Batches that one counted step consumes."""
        return workers * max(1, int(replicas_per_worker)) if self.lockstep else 1


MODES: dict[str, ModeTraits] = {
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


def traits(mode: str) -> ModeTraits:
    """The row of `mode`; raises KeyError if there is none."""
    return MODES[mode]


def _workers(count: int) -> tuple[Task, ...]:
    return tuple(Task("worker", index) for index in range(count))
