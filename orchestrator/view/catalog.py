"""The runs in a folder: a line on each, filtered and sorted, and the latest one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import text
from orchestrator.errors import UsageError
from orchestrator.results import Comparison, RunResult, Sweep
from orchestrator.store.directory import COMPARISON, COMPARISON_SPEC, RESULT, SPEC, SWEEP
from orchestrator.store.folders import (
    find_runs,
    is_comparison,
    is_sweep,
    load_comparison,
    load_comparison_spec,
    load_done,
    load_result,
    load_spec,
    load_sweep,
    load_sweep_spec,
    started,
)
from orchestrator.store.locks import is_driven
from orchestrator.view.outcome import outcome

UNFINISHED = "unfinished: still running, or its driver was killed"
RESUMABLE = ("unfinished", "preempted", "stopped", "failed")
COLUMNS = ("date", "run", "job", "mode", "workers", "status", "elapsed", "metric")


@dataclass(frozen=True)
class Entry:
    """A run or a comparison; None where its folder does not tell."""

    path: str
    kind: str
    """`run`, `comparison` or `sweep`."""
    date: str
    """When it was started, local time: `2026-11-28 22:26:06`."""
    job: str | None
    mode: str | None
    """Mode of a run; the variants of a comparison, separated by commas."""
    workers: int | None
    status: str
    """A run's status, `finished` for a comparison with a verdict on all of its runs, `running`, `unfinished` or
    `unreadable`."""
    metric: str | None
    """Name of the metric that was the target, or the first of the final ones."""
    value: float | None
    elapsed: float | None
    """Seconds of a run's `seconds.elapsed`: training with all that it waited for."""
    outcome: str
    """How it ended, in one line: a comparison's headline."""

    def cells(self) -> tuple[str, ...]:
        """Texts of the columns COLUMNS; of a comparison, the headline takes the place of the metric."""
        metric = self.outcome if self.kind == "comparison" or self.status == "unreadable" else ""
        if self.metric is not None and self.value is not None:
            metric = f"{self.metric} {text.number(self.value)}"
        workers = "" if self.workers is None else str(self.workers)
        elapsed = text.seconds(self.elapsed)
        cells = (self.date, self.path, self.job or "", self.mode or "", workers, self.status, elapsed, metric)
        return tuple(map(text.plain, cells))


def list_runs(
    root: Path, *, job: str | None = None, mode: str | None = None, status: str | None = None, sort: str = "date"
) -> list[Entry]:
    """The runs and comparisons in `root`, oldest first, or sorted by another of COLUMNS.

    `job` keeps those with this text in the job's name, `mode` and `status` those with just this one.

    Raises:
        UsageError: `sort` is no column.
    """
    if sort not in COLUMNS:
        raise UsageError(f"--sort: {sort!r} is no column. The columns are {', '.join(COLUMNS)}.")
    kept = [
        entry
        for entry in map(_entry, find_runs(root))
        if (job is None or job in (entry.job or ""))
        and (mode is None or mode in (entry.mode or "").split(","))
        and (status is None or status == entry.status)
    ]
    return kept if sort == "date" else sorted(kept, key=_order(sort))


def latest(root: Path, *, resumable: bool = False) -> Path:
    """Folder of the run or comparison in `root` that was started last; with `resumable`, of those with work left.

    Raises:
        UsageError: there is none.
    """
    for path in reversed(list(find_runs(root))):
        if not resumable or _entry(path).status in RESUMABLE:
            return path
    which = "unfinished run" if resumable else "run"
    raise UsageError(f"No {which} in {root}: name a run's folder, or change to the folder it was started in.")


def _entry(path: Path) -> Entry:
    kind = "sweep" if is_sweep(path) else "comparison" if is_comparison(path) else "run"
    ended = COMPARISON if kind == "comparison" else RESULT
    try:
        if kind == "sweep":
            return _of_sweep(path, load_sweep(path) if (path / SWEEP).exists() else None)
        if not (path / ended).exists():
            return _unfinished(path, kind)
        return _of_comparison(path, load_comparison(path)) if kind == "comparison" else _of_run(path, load_result(path))
    except (UsageError, ValueError, TypeError) as error:
        said = f"unreadable: {str(error).splitlines()[0]}"
        return Entry(str(path), kind, _date(path), None, None, None, "unreadable", None, None, None, said)


def _of_run(path: Path, result: RunResult) -> Entry:
    metric = result.target.metric if result.target else next(iter(result.final), None)
    value = result.final.get(metric) if metric is not None else None
    workers = sum(count for kind, count in result.tasks.items() if kind == "worker")
    return Entry(
        str(path), "run", _date(path), result.job, result.mode, workers, result.status, metric, value,
        result.seconds.elapsed, outcome(result),
    )  # fmt: skip


def _of_sweep(path: Path, sweep: Sweep | None) -> Entry:
    run = load_sweep_spec(path).get("run") or {}
    ended = f"{sweep.ended} of {sweep.wanted} trials ended" if sweep is not None else "no trial has ended"
    best = sweep.best_trial if sweep is not None else None
    status = "finished" if sweep is not None and sweep.ended >= sweep.wanted else "unfinished"
    if status == "unfinished" and _is_driven(path):
        status = "running"
    return Entry(
        str(path), "sweep", _date(path), _text(run.get("job")), _text(run.get("mode")), None, status,
        sweep.metric if sweep is not None else None, best.value if best is not None else None, None, ended,
    )  # fmt: skip


def _of_comparison(path: Path, comparison: Comparison) -> Entry:
    modes, headline = ",".join(comparison.modes), comparison.verdict.headline
    # comparison.json may have been written by `regatta report`, from the runs that there were.
    spec = load_comparison_spec(path) if (path / COMPARISON_SPEC).is_file() else {}
    planned = len(spec.get("variants") or ()) * len(spec.get("seeds") or ())
    missing = planned - sum(load_done(folder) is not None for folder in (path / "runs").glob("*"))
    status = "finished"
    if missing > 0:
        status = "running" if _is_driven(path) else "unfinished"
        headline += f" ({missing} of {planned} runs are missing)"
    return Entry(str(path), "comparison", _date(path), comparison.job, modes, None, status, None, None, None, headline)


def _unfinished(path: Path, kind: str) -> Entry:
    status = "running" if _is_driven(path) else "unfinished"
    load: Callable[[Path], Mapping[str, Any]] = load_comparison_spec if kind == "comparison" else load_spec
    known = load(path) if (path / (COMPARISON_SPEC if kind == "comparison" else SPEC)).is_file() else {}
    spec = known.get("run") or known
    variants = known.get("variants")
    mode = ",".join(map(str, variants)) if isinstance(variants, Mapping) else spec.get("mode")
    workers = spec.get("workers") if isinstance(spec.get("workers"), int) else None
    return Entry(
        str(path), kind, _date(path), _text(spec.get("job")), _text(mode), workers, status, None, None, None, UNFINISHED
    )


def _is_driven(path: Path) -> bool:
    """Whether a driver trains the run in folder `path`, or a run of the comparison there."""
    return any(map(is_driven, (path, *path.glob("runs/*"), *path.glob("tuning/*"))))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _date(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started(path)))


def _order(column: str) -> Callable[[Entry], tuple[bool, Any]]:
    """Key to sort by `column`, with what is not known last."""
    name = {"run": "path", "metric": "value"}.get(column, column)

    def key(entry: Entry) -> tuple[bool, Any]:
        value = getattr(entry, name)
        return value is None, value

    return key
