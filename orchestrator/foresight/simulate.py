"""`regatta simulate`: what modes and numbers of workers would do with given step times, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.foresight.simulator import SIMULATORS
from orchestrator.foresight.steps import StepTimes
from workers.modes.registry import COMPARED_BY_DEFAULT, batches_per_update, fewest_workers, number_in, traits, values_of
from workers.stragglers import Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_WORKERS = 4096
MOST_STEPS = 50_000_000
"""Steps of single workers that one simulation may have: some 20 seconds."""
_LONGEST_MS = 3_600_000.0


@dataclass(frozen=True)
class Question:
    """What to simulate. Times are in milliseconds, as on the command line."""

    modes: tuple[str, ...] = COMPARED_BY_DEFAULT
    workers: tuple[int, ...] = (1, 2, 4, 8)
    step_ms: float | None = None
    source: Path | None = None
    """Folder of a run to take step times and the exchange from, instead of `step_ms`."""
    exchange_ms: float | None = None
    straggler: str | None = None
    """A straggler profile; None for that of `source`, or none."""
    steps: int = 1000
    """Steps of each worker."""
    seed: int = 0


def simulate(question: Question) -> dict[str, Any]:
    """Simulate every mode with every number of workers.

    Returns a JSON document with a row for each; a mode that cannot be simulated has null and the reason.

    Raises:
        UsageError: the question contradicts itself or is out of range, or the run cannot be read.
    """
    _check(question)
    work, exchange, straggler, start = _times(question)
    profile = _profile(straggler)
    try:
        base = (
            question.steps
            / SIMULATORS["nothing"](StepTimes(work, profile, question.seed, 1), question.steps, 0.0, 0).seconds
        )
    except ValueError as error:  # from the file of a trace
        raise SpecError("straggler", f"{straggler!r} is not allowed: {error}") from None
    rows = [_row(question, mode, n, work, exchange, profile) for mode, n in _cases(question)]
    for row in rows:
        row["speedup"] = None if row["batches_per_s"] is None else row["batches_per_s"] / base
    return {
        "schema": 1,
        "source": None if question.source is None else str(question.source),
        "step_ms": 1000 * float(sum(map(_mean, work)) / len(work)),
        "exchange_ms": 1000 * exchange,
        "straggler": straggler,
        "start_seconds": start,
        "steps": question.steps,
        "seed": question.seed,
        "rows": rows,
    }


def _check(question: Question) -> None:
    for mode in question.modes:
        try:
            values_of(mode)
        except ValueError as error:
            raise SpecError("modes", f"{mode!r} is not allowed: {error}") from None
    for workers in question.workers:
        if not 1 <= workers <= MOST_WORKERS:
            raise SpecError("workers", f"{workers} is out of range: 1 to {MOST_WORKERS:,}")
    if question.steps < 1 or question.steps * max(question.workers) > MOST_STEPS:
        most = MOST_STEPS // max(question.workers)
        raise SpecError(
            "steps", f"{question.steps:,} is out of range: 1 to {most:,} with {max(question.workers)} workers"
        )
    if question.seed < 0:
        raise SpecError("seed", f"{question.seed} is negative")
    if (question.step_ms is None) == (question.source is None):
        raise UsageError(
            "Give either --step-ms or --from with the folder of a run, so that the time of a step is known."
        )
    for name, value in (("step_ms", question.step_ms), ("exchange_ms", question.exchange_ms)):
        if value is not None and not 0 <= value <= _LONGEST_MS:
            raise SpecError(name, f"{value:g} is out of range: 0 to {_LONGEST_MS:,.0f} milliseconds")
    if question.step_ms == 0:
        raise SpecError("step_ms", "0 is not allowed: a step takes time")


def _profile(text: str) -> Profile:
    try:
        return Profile.parse(text)
    except ValueError as error:
        raise SpecError("straggler", f"{text!r} is not allowed: {error}") from None


def _times(question: Question) -> tuple[list[npt.NDArray[np.float64]], float, str, float | None]:
    """Samples of the seconds of a step, the seconds of an exchange, the straggler profile, and the seconds that the run
    lost at its start, which no row counts."""
    import numpy as np

    exchange = 0.0 if question.exchange_ms is None else question.exchange_ms / 1000
    if question.source is None:
        return [np.array([(question.step_ms or 0.0) / 1000])], exchange, question.straggler or "none", None
    from orchestrator.foresight.measured import measured

    run = measured(question.source)
    if question.exchange_ms is None and not traits(run.mode).alone:
        if run.exchange is None:
            raise UsageError(
                f"{question.source} did not measure what an exchange takes in mode {run.mode}: give --exchange-ms."
            )
        exchange = float(run.exchange.mean())
    return list(run.own), exchange, question.straggler or run.straggler, run.start


def _cases(question: Question) -> Sequence[tuple[str, int]]:
    return [(mode, n) for mode in question.modes for n in _counts(question, mode)]


def _counts(question: Question, mode: str) -> Sequence[int]:
    return (1,) if traits(mode).alone else [n for n in question.workers if n >= fewest_workers(mode)]


def _row(
    question: Question,
    mode: str,
    workers: int,
    work: list[npt.NDArray[np.float64]],
    exchange: float,
    profile: Profile,
) -> dict[str, Any]:
    waits = traits(mode).waits_for
    row: dict[str, Any] = {"mode": mode, "workers": workers}
    if waits is None:
        unknown = ("seconds", "updates", "updates_per_s", "batches_per_s", "waiting", "staleness")
        return row | dict.fromkeys(unknown) | {"reason": f"there is no simulator of mode {mode} yet"}
    own = StepTimes(work, profile, question.seed, workers)
    lone = workers == 1 and traits(mode).lockstep
    found = SIMULATORS[waits](own, question.steps, 0.0 if lone else exchange, number_in(mode) or 0)
    gathered = batches_per_update(mode, workers) if traits(mode).gathers else 1
    return row | {
        "seconds": found.seconds,
        "updates": found.updates // gathered,
        "updates_per_s": found.updates / gathered / found.seconds,
        "batches_per_s": found.batches / found.seconds,
        "waiting": found.waiting,
        "staleness": None if found.staleness is None else found.staleness / gathered,
        "reason": None,
    }


def _mean(sample: npt.NDArray[np.float64]) -> float:
    return float(sample.mean())
