"""The registry of modes, one row each. Driver and replicas use it; no code elsewhere tests for a mode's name.

A row is a family: `local` of `local:16` (`workers.modes.names`). A new mode is one file next to this one and one row in
`MODES` (CONTRIBUTING.md, "Add a mode").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from workers.messages import Task
from workers.modes.names import Choice, NameForm, Real, Whole

Waits = Literal["nothing", "workers", "servers"]


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
    source: str = ""
    """The paper that describes it."""
    equals: str = ""
    """The limit in which it is another mode, or `fit`."""
    one_device: bool = False
    """A worker has one device at most."""
    waits_for: Waits | None = None
    """What a worker's step waits for besides its own work, from which its time is predicted: nothing, all other
    workers, or its turn at the parameter servers. None if there is no such prediction for the mode."""

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
        equals="`fit`",
        waits_for="nothing",
    ),
    "sync": ModeTraits(
        implementation="workers.modes.sync:SyncMode",
        summary="all workers take each step together; gradients are averaged by all-reduce",
        balances=True,
        source="Chen et al. 2016, arXiv 1604.00981",
        equals="`fit` on the joined batches of all workers",
        waits_for="workers",
    ),
    "async": ModeTraits(
        implementation="workers.modes.async_:AsyncMode",
        summary="each worker updates the weights on parameter servers when it is ready",
        chief=True,
        lockstep=False,
        # One call runs and one waits, so that no worker idles for a round trip to the chief.
        calls_in_flight=2,
        source="Dean et al. 2012",
        equals="with one worker: `fit`",
        waits_for="servers",
    ),
    "dampened": ModeTraits(
        implementation="workers.modes.dampened:DampenedMode",
        summary="async, but each gradient counts 1/(1 + its staleness)",
        chief=True,
        lockstep=False,
        calls_in_flight=2,
        source="Zhang et al. 2015, arXiv 1511.05950",
        equals="with one worker: `fit`",
    ),
    "ssp": ModeTraits(
        implementation="workers.modes.ssp:SspMode",
        summary="async, but no worker is more than s steps ahead of the slowest",
        chief=True,
        lockstep=False,
        bounded=True,
        form=NameForm(Whole(0, "the steps that a worker may be ahead"), example=3),
        source="Ho et al. 2013",
        equals="ssp:0: workers take each step together; with one worker: `fit`",
    ),
    "kasync": ModeTraits(
        implementation="workers.modes.kasync:KAsyncMode",
        summary="async, but the mean of the first K gradients to arrive is an update, however stale they are",
        chief=True,
        lockstep=False,
        calls_in_flight=2,
        form=NameForm(Whole(1, "the gradients of an update"), example=2),
        source="Dutta et al. 2018, arXiv 1803.01113",
        equals="kasync:1: async; with one worker: `fit` with gradient_accumulation_steps=K",
        one_device=True,
    ),
    "backup": ModeTraits(
        implementation="workers.modes.backup:BackupMode",
        summary="sync, but a step is the first N-b of N workers' gradients; late ones are dropped and counted",
        chief=True,
        lockstep=False,
        # One call runs at a time, and while a worker waits, each other worker completes two at most: a late one, and
        # one for the version that is waited for.
        calls_in_flight=2,
        form=NameForm(Whole(0, "the workers that a step does without"), example=1),
        source="Chen et al. 2016, arXiv 1604.00981",
        equals="backup:0: sync",
        same_as={0: "sync"},
        spares=True,
        one_device=True,
    ),
    "local": ModeTraits(
        implementation="workers.modes.local:LocalMode",
        summary="each worker takes H steps of its own, then all continue from the mean of their weights",
        form=NameForm(
            Whole(1, "the steps between two means"),
            example=16,
            options={
                "outer": Choice(("mean", "nesterov"), "what is done with the mean", "mean"),
                "outer_lr": Real(1e-6, 100.0, "the learning rate of the outer optimizer", 0.7),
                "outer_momentum": Real(0.0, 0.999999, "the momentum of the outer optimizer", 0.9),
            },
        ),
        source="Stich 2018, arXiv 1805.09767; outer=nesterov: DiLoCo, arXiv 2311.08105",
        equals="local:1 with SGD: sync; with one worker and without options: `fit`",
        one_device=True,
    ),
}
COMPARED_BY_DEFAULT = ("single", "sync", "async")
"""The baseline first."""


def traits(mode: str) -> ModeTraits:
    """Return the row of `mode`, whose name has been checked; raises KeyError if there is none."""
    row = MODES[_family(mode)]
    same = row.same_as.get(_number(mode))
    return row if same is None else MODES[same]


def examples() -> list[str]:
    """A valid name of each family."""
    return [row.form.shortest(family) for family, row in MODES.items()]


def described() -> list[dict[str, Any]]:
    """Every family for a listing: its `name`, an `example`, `summary`, `equals`, `source`, and the `values` that its
    name carries, each with its meaning."""
    rows = []
    for family, row in MODES.items():
        number = {"number": row.form.number.meaning} if row.form.number is not None else {}
        rows.append(
            {
                "name": family,
                "example": row.form.shortest(family),
                "summary": row.summary,
                "equals": row.equals,
                "source": row.source,
                "values": number
                | {key: f"{option.meaning}: {option.form}" for key, option in row.form.options.items()},
            }
        )
    return rows


def find(mode: str) -> ModeTraits | None:
    """Return the row of `mode`; None if this version has no such mode."""
    return traits(mode) if _family(mode) in MODES else None


def values_of(mode: str) -> dict[str, Any]:
    """The values in the name of `mode`: its number as `number`, and its options, with their defaults.

    Raises:
        ValueError: there is no such mode, or not with these values; says which name is valid.
    """
    row = MODES.get(_family(mode))
    if row is None:
        raise ValueError(" or ".join(map(repr, examples())))
    return row.form.parse(mode)


def _family(mode: str) -> str:
    return mode.partition(":")[0].partition(",")[0]


def _number(mode: str) -> int | None:
    number = mode.partition(",")[0].partition(":")[2]
    return int(number) if number.isdecimal() else None


def _workers(count: int) -> tuple[Task, ...]:
    return tuple(Task("worker", index) for index in range(count))
