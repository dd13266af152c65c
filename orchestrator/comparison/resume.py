"""A comparison that is resumed in its own folder: the runs that are done, and those that are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.comparison.schedule import schedule
from orchestrator.errors import UsageError
from orchestrator.results import RunResult
from orchestrator.runs.execution import Planned, Schedule
from orchestrator.runs.resume import last_checkpoint
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.spec.validation import validated
from orchestrator.store.directory import COMPARISON, COMPARISON_SPEC, RESULT, check_not_driven
from orchestrator.store.folders import load_comparison_spec, load_result
from orchestrator.store.metrics import METRICS


def stored_comparison(path: Path, changes: Mapping[str, Any]) -> CompareSpec:
    """The spec that the comparison in folder `path` was started with, with `changes` to what is not compared.

    Raises:
        UsageError: it is finished, or its spec is not one.
    """
    if (path / COMPARISON).exists():
        raise UsageError(f"The comparison in {path} is finished, so there is nothing to resume: see its report.md.")
    if changes.get("workers") is not None:
        raise UsageError("workers: what a comparison compares cannot be changed half-way. Start another one.")
    values = load_comparison_spec(path)
    run = values.pop("run", None)
    if not isinstance(run, dict):
        raise UsageError(f"{path / COMPARISON_SPEC} is not the spec of a comparison.")
    base = RunSpec.make(run | {key: value for key, value in changes.items() if value is not None})
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
    resumed, whence = last_checkpoint(planned.spec, planned.run_id, planned.path)
    tell(f"{planned.run_id} goes on {whence}.")
    (planned.path / RESULT).unlink(missing_ok=True)
    return replace(planned, claimed=True, resumed=resumed)
