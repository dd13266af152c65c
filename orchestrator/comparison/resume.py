"""Resumes a comparison in its folder: keeps the runs that are done, and continues or starts the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.comparison.schedule import Tried, schedule
from orchestrator.errors import SpecError, UsageError
from orchestrator.results import RunResult
from orchestrator.runs.earlier_fits import told_start
from orchestrator.runs.execution import Schedule
from orchestrator.runs.planned import Planned
from orchestrator.runs.starts import find_start
from orchestrator.spec import trust
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.spec.validation import validated
from orchestrator.spec.variants import file_name
from orchestrator.store.directory import COMPARISON, COMPARISON_SPEC, RESULT
from orchestrator.store.folders import is_run, load_comparison_spec, load_done, load_spec
from orchestrator.store.locks import check_not_driven
from orchestrator.store.metrics import METRICS
from orchestrator.store.versions import other_version


def stored_comparison_spec(path: Path, changes: Mapping[str, Any]) -> CompareSpec:
    """The spec of the comparison in folder `path`, with `changes` to fields that are not compared.

    Raises:
        UsageError: its spec cannot be read.
    """
    if changes.get("workers") is not None:
        raise UsageError("workers: a comparison cannot be resumed with another number. Start a new comparison.")
    if changes.get("mode") is not None:
        raise UsageError("mode: a comparison's variants keep theirs. Resume one of its runs alone.")
    values = load_comparison_spec(path)
    run = values.pop("run", None)
    if not isinstance(run, dict):
        raise UsageError(f"{path / COMPARISON_SPEC} is not the spec of a comparison.")
    trust.check(path / COMPARISON_SPEC, run | {"variants": values.get("variants")}, changes)
    try:
        base = RunSpec.make(run | {key: value for key, value in changes.items() if value is not None})
        return validated(CompareSpec, values | {"run": base})
    except SpecError as error:
        raise UsageError(f"{error.message}{other_version(path)}") from None


def remaining_runs(
    spec: CompareSpec,
    path: Path,
    results: list[RunResult],
    tell: Callable[[str], None],
    tried: Tried | None = None,
) -> tuple[list[Planned], Schedule]:
    """Like `schedule`, without the runs that are done, whose stored results are appended to `results` and `tried`.

    Raises:
        UsageError: all runs are done, and the comparison is written.
    """
    first_runs: dict[str, Planned] = {}
    name = _name(path)
    for planned, done in _walk(schedule(spec, path, [], name=name)[1]):
        if done is None and planned.spec.variant_name not in first_runs:
            first_runs[planned.spec.variant_name] = _resume(planned, tell)
    if not first_runs and (path / COMPARISON).exists():
        raise UsageError(f"The comparison in {path} is finished, so there is nothing to resume: see its report.md.")

    def rest() -> Schedule:
        whole = schedule(spec, path, results, tried, name=name)[1]
        planned = next(whole, None)
        while planned is not None:
            result = load_done(planned.path)
            if result is None:
                first = first_runs.get(planned.spec.variant_name)
                result = yield first if first and first.run_id == planned.run_id else _resume(planned, tell)
            try:
                planned = whole.send(result)
            except StopIteration:
                return

    return list(first_runs.values()), rest()


def _name(path: Path) -> str:
    """The name that the runs of the comparison in folder `path` begin with: the folder's, unless it was renamed since.

    Run ids stay as they are, for they are part of the names of checkpoints in other storages.
    """
    names = set()
    for run in filter(is_run, (*path.glob("runs/*"), *path.glob("tuning/*"))):
        with suppress(UsageError):
            stored = load_spec(run)
            name, label, _ = run.name.rpartition(f"-{file_name(str(stored.get('variant')))}-s{stored.get('seed')}")
            names |= {name} if label else set()
    return path.name if path.name in names or not names else min(names)


def _walk(whole: Schedule) -> Iterator[tuple[Planned, RunResult | None]]:
    """All runs of a schedule, with the results of those that are done; the schedule is told that the others failed."""
    planned = next(whole, None)
    while planned is not None:
        done = load_done(planned.path)
        yield planned, done
        spec = planned.spec
        stand_in = RunResult(
            run_id=planned.run_id, job=spec.job, mode=spec.mode, seed=spec.seed, status="failed", tasks={}
        )
        try:
            planned = whole.send(done or stand_in)
        except StopIteration:
            return


def _resume(planned: Planned, tell: Callable[[str], None]) -> Planned:
    if not (planned.path / METRICS).exists():
        return planned  # it was never started
    check_not_driven(planned.path)
    resumed, start = find_start(planned.spec, planned.run_id, planned.path)
    tell(f"{planned.run_id} continues {told_start(planned, start)}.")
    (planned.path / RESULT).unlink(missing_ok=True)
    return replace(planned, claimed=True, resumed=resumed)
