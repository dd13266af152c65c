"""What a folder holds, read back: its runs with their spec, plan and environment, and the comparison of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.report.environment import load_environment
from orchestrator.report.recovery import recover
from orchestrator.result import Comparison, RunResult
from orchestrator.store import COMPARISON, METRICS, PLAN, RESULT, SPEC, Metrics, load_comparison, load_result


@dataclass(frozen=True)
class StoredRun:
    """A run's result, and what lies beside it in its folder."""

    result: RunResult
    path: Path | None = None
    """Null where only the result is known: then there are no curves."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] | None = None

    @property
    def samples_per_step(self) -> float | None:
        planned = self.plan.get("budget", {}) if isinstance(self.plan.get("budget"), Mapping) else {}
        per_step = planned.get("samples_per_step")
        if isinstance(per_step, int | float) and per_step > 0:
            return float(per_step)
        result = self.result
        return result.samples / result.steps if result.samples and result.steps else None

    @contextmanager
    def metrics(self) -> Iterator[Metrics | None]:
        """Its metrics.db, open for reading; null where there is none that can be read."""
        metrics = None
        if self.path is not None and (self.path / METRICS).is_file():
            try:
                metrics = Metrics(self.path)
                metrics.rows("SELECT COUNT(*) FROM sqlite_master")
            except sqlite3.Error:
                metrics = None
        try:
            yield metrics
        finally:
            if metrics is not None:
                metrics.close()

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Rows of its metrics.db; none where it, or the table, is missing or damaged."""
        with self.metrics() as metrics:
            try:
                return metrics.rows(query, *arguments) if metrics is not None else []
            except sqlite3.Error:
                return []


@dataclass(frozen=True)
class Study:
    """Everything a report is made of: one run, or a comparison and the runs it judged."""

    name: str
    job: str
    modes: Mapping[str, Sequence[StoredRun]]
    comparison: Comparison | None = None
    """Null for a single run."""
    notes: tuple[str, ...] = ()

    @property
    def runs(self) -> list[tuple[str, StoredRun]]:
        return [(name, run) for name, runs in self.modes.items() for run in runs]

    @property
    def results(self) -> dict[str, tuple[RunResult, ...]]:
        return {name: tuple(run.result for run in runs) for name, runs in self.modes.items()}


def load_run(path: Path) -> StoredRun:
    """The run in folder `path`, also one whose driver died before it wrote the result.

    Raises:
        UsageError: it is not the folder of a run, or a file in it cannot be read.
    """
    spec, plan = _yaml(path / SPEC), _json(path / PLAN)
    result = load_valid(path) if (path / RESULT).is_file() else recover(path, spec, plan)
    return StoredRun(result, path, spec, plan, load_environment(path))


def load_valid(path: Path) -> RunResult:
    """As `load_result`; a result of another shape is the reader's problem too, not a bug."""
    try:
        return load_result(path)
    except ValueError as error:
        raise UsageError(f"{path / RESULT} is not a run's result: {_first_line(error)}") from None


def stored_comparison(path: Path) -> Comparison | None:
    """The comparison.json in folder `path`; null when there is none."""
    if not (path / COMPARISON).is_file():
        return None
    try:
        return load_comparison(path)
    except ValueError as error:
        raise UsageError(f"{path / COMPARISON} is not a comparison: {_first_line(error)}") from None


def is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in (RESULT, SPEC))


def is_comparison(path: Path) -> bool:
    return (path / COMPARISON).is_file() or any(map(is_run, (path / "runs").glob("*")))


def run_folders(path: Path) -> list[Path]:
    """Folders of the runs below a comparison's folder, or the run's own."""
    if not is_comparison(path):
        return [path] if is_run(path) else []
    return sorted(folder for folder in (path / "runs").glob("*") if is_run(folder))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return "; ".join(line.strip() for line in lines[:3])
