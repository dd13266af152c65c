"""The same contest on other clocks: whether another one would name another winner. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.results import RunResult
from orchestrator.verdict.evidence import Modes

Winner = Callable[[Modes], str | None]


def clock_reasons(modes: Modes, winner: str | None, judged: Winner) -> list[str]:
    """A sentence for each other clock by which `judged` names another variant than `winner`."""
    return [
        f"counting {clock}, {other} would win"
        for clock, changed in _other_clocks(modes)
        if (other := judged(changed)) is not None and other != winner
    ]


def _other_clocks(modes: Modes) -> Iterator[tuple[str, Modes]]:
    """Training alone, and launch included, if all runs with a time were measured by them."""
    timed = [run for group in modes.values() for run in group if run.seconds.elapsed is not None]
    if timed and all(map(_is_measured_apart, timed)):
        yield "training alone, without callbacks and their validation", _each(modes, _training_alone)
    if timed and all(run.seconds.launch is not None for run in timed):
        yield "the launch too, which only a variant's first run waits for", _each(modes, _with_launch)


def _is_measured_apart(run: RunResult) -> bool:
    by_target = run.target is None or not run.target.reached or run.target.training_seconds is not None
    return by_target and run.seconds.training is not None


def _each(modes: Modes, change: Callable[[RunResult], RunResult]) -> Modes:
    return {name: [run if run.seconds.elapsed is None else change(run) for run in runs] for name, runs in modes.items()}


def _training_alone(run: RunResult) -> RunResult:
    return _timed(run, run.seconds.training, run.target.training_seconds if run.target else None)


def _with_launch(run: RunResult) -> RunResult:
    launch, reached = run.seconds.launch or 0.0, run.target.seconds if run.target else None
    return _timed(run, launch + (run.seconds.elapsed or 0.0), None if reached is None else launch + reached)


def _timed(run: RunResult, elapsed: float | None, reached: float | None) -> RunResult:
    changes: dict[str, Any] = {"seconds": run.seconds.model_copy(update={"elapsed": elapsed})}
    if run.target is not None:
        changes["target"] = run.target.model_copy(update={"seconds": reached})
    return run.model_copy(update=changes)
