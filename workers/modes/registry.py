"""The registry of modes, one row each. Driver and replicas use it; no code elsewhere tests for a mode's name.

A row is a family: `local` of `local:16` (`workers.modes.names`). A new mode is one file next to this one and one row in
`MODES` (CONTRIBUTING.md, "Add a mode").
"""

from __future__ import annotations

from typing import Any, NamedTuple

from workers.modes.names import Choice, NameForm, Real, Share, Whole
from workers.modes.traits import ModeTraits

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
        summary="each worker updates the weights when it is ready",
        chief=True,
        lockstep=False,
        # One call runs and one waits, so that no worker idles for a round trip to the chief.
        calls_in_flight=2,
        shares_memory=True,
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
        shares_memory=True,
        source="Zhang et al. 2015, arXiv 1511.05950",
        equals="with one worker: `fit`",
        waits_for="servers",
    ),
    "ssp": ModeTraits(
        implementation="workers.modes.ssp:SspMode",
        summary="async, but no worker is more than s steps ahead of the slowest",
        chief=True,
        lockstep=False,
        bounded=True,
        shares_memory=True,
        form=NameForm(Whole(0, "the steps that a worker may be ahead"), example=3),
        source="Ho et al. 2013",
        equals="ssp:0: workers take each step together; with one worker: `fit`",
        waits_for="bound",
    ),
    "kasync": ModeTraits(
        implementation="workers.modes.kasync:KAsyncMode",
        summary="async, but the mean of the first K gradients to arrive is an update, however stale they are",
        chief=True,
        lockstep=False,
        calls_in_flight=2,
        form=NameForm(Whole(1, "the gradients of an update"), example=2),
        gathers=True,
        source="Dutta et al. 2018, arXiv 1803.01113",
        equals="kasync:1: async; with one worker: `fit` with gradient_accumulation_steps=K",
        one_device=True,
        waits_for="servers",
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
        waits_for="quorum",
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
        waits_for="rounds",
    ),
    "switch": ModeTraits(
        summary="sync for the first share f of the samples, then async",
        stages=("sync", "async"),
        # What its two groups need together is reserved for the whole run.
        chief=True,
        lockstep=False,
        form=NameForm(
            Share("the share of the samples before the change"),
            example=0.5,
            options={"from": Choice(("sync", "async"), "the mode to begin in", "sync")},
        ),
        source="Li et al. 2021, arXiv 2104.08364",
        equals="switch:1: sync; switch:0: async",
    ),
}
COMPARED_BY_DEFAULT = ("single", "sync", "async")
"""The baseline first."""


class Stage(NamedTuple):
    """A part of a run's training in one mode, in a worker group of that mode."""

    mode: str
    until: float
    """The share of the run's samples at which it ends."""


def traits(mode: str) -> ModeTraits:
    """Return the row of `mode`, a family or a name that has been checked; raises KeyError if there is none."""
    row = MODES[_family(mode)]
    if row.stages and mode not in MODES:
        first, *later = stages(mode)
        return row if later else MODES[first.mode]
    same = row.same_as.get(number_in(mode))
    return row if same is None else MODES[same]


def stages(mode: str) -> tuple[Stage, ...]:
    """The stages of a run in `mode`, whose name has been checked: one, unless it changes to another mode on the way."""
    row = MODES[_family(mode)]
    if not row.stages:
        return (Stage(mode, 1.0),)
    values = row.form.parse(mode)
    first, second = row.stages if values["from"] == row.stages[0] else row.stages[::-1]
    found = Stage(first, values["number"]), Stage(second, 1.0)
    return found[:1] if found[0].until == 1 else found[1:] if found[0].until == 0 else found


def in_stages(*modes: str) -> tuple[str, ...]:
    """The modes in which runs in `modes` train, each once; those that this version does not have as they are."""
    found = [stages(mode) if find(mode) is not None else (Stage(mode, 1.0),) for mode in modes]
    return tuple(dict.fromkeys(stage.mode for each in found for stage in each))


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
    try:
        return traits(mode)
    except (KeyError, ValueError):
        return None


def values_of(mode: str) -> dict[str, Any]:
    """The values in the name of `mode`: its number as `number`, and its options, with their defaults.

    Raises:
        ValueError: there is no such mode, or not with these values; says which name is valid.
    """
    row = MODES.get(_family(mode))
    if row is None:
        raise ValueError(" or ".join(map(repr, examples())))
    return row.form.parse(mode)


def fewest_workers(mode: str) -> int:
    """Workers that a group of `mode` has at least."""
    return 1 + (number_in(mode) or 0) if traits(mode).spares else 1


def batches_per_update(mode: str, workers: int) -> int:
    """Batches whose gradients an update of the weights is made of."""
    row = traits(mode)
    if row.spares:  # a group that shrank to its last workers does without none of them
        return max(1, workers - (number_in(mode) or 0))
    return (row.gathers and number_in(mode)) or row.batches_per_step(workers, 1)


def number_in(mode: str) -> int | None:
    """The whole number after the colon of a name that has been checked; None if there is none."""
    number = mode.partition(",")[0].partition(":")[2]
    return int(number) if number.isdecimal() else None


def _family(mode: str) -> str:
    return mode.partition(":")[0].partition(",")[0]
