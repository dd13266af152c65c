"""`regatta resume`: a run, or a comparison, is taken up again in its own folder after its driver has gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.comparison.schedule import schedule
from orchestrator.errors import UsageError
from orchestrator.results import RunResult
from orchestrator.runs.checkpoints import Resumed, checkpointing
from orchestrator.runs.session import Planned, Schedule
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.resolve import read_yaml
from orchestrator.spec.run import RunSpec, make_run_spec, validated
from orchestrator.store.directory import COMPARISON, COMPARISON_SPEC, RESULT, SPEC, check_not_driven, load_result
from orchestrator.store.metrics import METRICS, Metrics
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.storage import open_place
from workers.checkpoints.store import Shelf, not_one


def is_comparison(path: Path) -> bool:
    return (path / COMPARISON_SPEC).exists()


def take_up(path: Path, changes: Mapping[str, Any]) -> tuple[Planned, str]:
    """The run in folder `path` as it goes on, with `changes` to its spec; and from where, in words.

    Raises:
        UsageError: it is no run's folder, the run has succeeded, its driver is alive, or none of its checkpoints can
            be trusted.
    """
    spec, run_id = stored_spec(path, changes)
    if (path / RESULT).exists() and (result := load_result(path)).status == "succeeded":
        raise UsageError(
            f"The run in {path} has succeeded ({result.stop_reason}), so there is nothing to resume. To train longer, "
            "start a run with a larger budget."
        )
    check_not_driven(path)
    resumed, whence = _where(spec, run_id, path)
    return Planned(spec, path, run_id, claimed=True, resumed=resumed), whence


def stored_spec(path: Path, changes: Mapping[str, Any]) -> tuple[RunSpec, str]:
    """The spec that the run in folder `path` was started with, with `changes`; and the run's id.

    Raises:
        UsageError: there is none, or it is not one.
    """
    if not (path / SPEC).is_file():
        raise UsageError(f"{path} holds no {SPEC}: it is not the folder of a run that was started.")
    values = read_yaml(path / SPEC) | {key: value for key, value in changes.items() if value is not None}
    spec = make_run_spec(values)
    return spec, spec.run_id or path.name


def stored_comparison(path: Path, changes: Mapping[str, Any]) -> CompareSpec:
    """The spec that the comparison in folder `path` was started with, with `changes` to what is not compared.

    Raises:
        UsageError: it is finished, or its spec is not one.
    """
    if (path / COMPARISON).exists():
        raise UsageError(f"The comparison in {path} is finished, so there is nothing to resume: see its report.md.")
    if changes.get("workers") is not None:
        raise UsageError("workers: what a comparison compares cannot be changed half-way. Start another one.")
    values = read_yaml(path / COMPARISON_SPEC)
    run = values.pop("run", None)
    values.pop("directory", None)  # put there by the reader of specs, for a run's
    if not isinstance(run, dict):
        raise UsageError(f"{path / COMPARISON_SPEC} is not the spec of a comparison.")
    base = make_run_spec(run | {key: value for key, value in changes.items() if value is not None})
    return validated(CompareSpec, values | {"run": base})


def remaining(
    spec: CompareSpec, path: Path, results: list[RunResult], tell: Callable[[str], None]
) -> tuple[list[Planned], Schedule]:
    """As `compare.schedule`, less the runs that are done; their results are appended to `results` as they are."""
    firsts: dict[str, Planned] = {}
    for planned, done in _walk(schedule(spec, path, [])[1]):
        if done is None and planned.spec.variant_name not in firsts:
            firsts[planned.spec.variant_name] = _taken_up(planned, tell)

    def rest() -> Schedule:
        whole = schedule(spec, path, results)[1]
        planned = next(whole, None)
        while planned is not None:
            result = _done(planned)
            if result is None:
                again = firsts.get(planned.spec.variant_name)
                result = yield again if again and again.run_id == planned.run_id else _taken_up(planned, tell)
            try:
                planned = whole.send(result)
            except StopIteration:
                return

    return list(firsts.values()), rest()


def _walk(whole: Schedule) -> Iterator[tuple[Planned, RunResult | None]]:
    """All runs, and the results of those that are done. A run that is to come is taken for failed, for now."""
    planned = next(whole, None)
    while planned is not None:
        done = _done(planned)
        yield planned, done
        spec = planned.spec
        stand_in = RunResult(
            run_id=planned.run_id, job=spec.job, mode=spec.mode, seed=spec.seed, status="failed", tasks={}
        )
        try:
            planned = whole.send(done or stand_in)
        except StopIteration:
            return


def _done(planned: Planned) -> RunResult | None:
    """The result of a run that came to its end; one that was broken off has not."""
    if not (planned.path / RESULT).exists():
        return None
    result = load_result(planned.path)
    over = result.status == "succeeded" or (result.status == "stopped" and result.stop_reason != "interrupted")
    return result if over else None


def _taken_up(planned: Planned, tell: Callable[[str], None]) -> Planned:
    if not (planned.path / METRICS).exists():
        return planned  # it was not begun
    check_not_driven(planned.path)
    resumed, whence = _where(planned.spec, planned.run_id, planned.path)
    tell(f"{planned.run_id} goes on {whence}.")
    (planned.path / RESULT).unlink(missing_ok=True)
    return replace(planned, claimed=True, resumed=resumed)


def _where(spec: RunSpec, run_id: str, path: Path) -> tuple[Resumed, str]:
    attempt, clock = _lived(path)
    settings = checkpointing(spec, run_id, path)
    if settings is None:
        return Resumed(attempt + 1, clock), "from the beginning: its checkpoints were switched off"
    try:
        shelf = Shelf(open_place(settings.destination), run_id)
        attempt = max(attempt, shelf.attempt())
        found = shelf.latest()
    except (CheckpointError, OSError) as error:
        raise UsageError(f"checkpoints: those of the run cannot be read: {error}") from None
    if found.checkpoint is None and found.passed_over:
        raise UsageError(not_one(found.passed_over, shelf.url))
    whence = "from the beginning: no checkpoint was written yet"
    if found.checkpoint is not None:
        manifest = found.checkpoint.manifest
        whence = f"from step {manifest.step:,} ({shelf.url}/{found.checkpoint.name})"
    return Resumed(attempt + 1, clock), ". ".join([*found.passed_over, whence])


def _lived(path: Path) -> tuple[int, float]:
    """The number of the last attempt, and the last that was seen of the training clock, in seconds."""
    if not (path / METRICS).is_file():
        return 1, 0.0
    try:
        metrics = Metrics(path)
        try:
            attempts = metrics.rows("SELECT (SELECT MAX(attempt) FROM steps), (SELECT MAX(attempt) FROM events)")[0]
            clocks = metrics.column("SELECT MAX(clock) FROM steps")
        finally:
            metrics.close()
        return max(1, *(int(attempt or 1) for attempt in attempts)), max(0.0, float(clocks[0] or 0.0))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise UsageError(f"{path / METRICS} cannot be read ({error}): the run cannot be taken up again.") from None
