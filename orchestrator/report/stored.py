"""What a folder holds, read back: its runs with their spec, plan and environment, and the comparison of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.report.recovery import recover
from orchestrator.results import Comparison, RunResult
from orchestrator.store.directory import COMPARISON, PLAN, RESULT
from orchestrator.store.documents import read_text
from orchestrator.store.folders import (
    is_comparison,
    is_run,
    load_comparison,
    load_comparison_spec,
    load_environment,
    load_result,
    load_spec,
)
from orchestrator.store.metrics import METRICS, Metrics

UNREADABLE = (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a run's folder that others have written to, by hand or by malice, may make a reader of it raise."""
JOINED = "joined.json"
"""In the folder of a report on the runs of other folders: which ones."""


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
    def variant(self) -> str:
        """What it is compared as."""
        return self.result.variant or self.result.mode

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
    is_stored: bool = False
    """Whether the comparison is the one in comparison.json; else it was put together again."""
    joined: tuple[Path, ...] = ()
    """Folders whose runs were joined; empty for the runs of one folder."""

    @property
    def runs(self) -> list[tuple[str, StoredRun]]:
        return [(name, run) for name, runs in self.modes.items() for run in runs]

    @property
    def results(self) -> dict[str, tuple[RunResult, ...]]:
        return {name: tuple(run.result for run in runs) for name, runs in self.modes.items()}


def unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path} cannot be read ({type(error).__name__}: {error}): files in it are damaged, or another version's."
    )


def load_run(path: Path) -> StoredRun:
    """The run in folder `path`, also one whose driver died before it wrote the result.

    Raises:
        UsageError: it is not the folder of a run, or a file in it cannot be read.
    """
    spec, plan = _spec(load_spec, path), _json(path / PLAN)
    result = load_result(path) if (path / RESULT).is_file() else recover(path, spec, plan)
    return StoredRun(result, path, spec, plan, load_environment(path))


def stored_comparison(path: Path) -> Comparison | None:
    """The comparison.json in folder `path`; null when there is none."""
    return load_comparison(path) if (path / COMPARISON).is_file() else None


def stored_margin(path: Path) -> float | None:
    """What the comparison in folder `path` counts as equal accuracies; null when it does not say."""
    stored = stored_comparison(path)
    margin = stored.margin if stored is not None else _spec(load_comparison_spec, path).get("margin")
    return float(margin) if isinstance(margin, int | float) and 0 < margin < 1 else None


def run_folders(path: Path) -> list[Path]:
    """Folders of the runs below a comparison's folder, or the run's own."""
    if not is_comparison(path):
        return [path] if is_run(path) else []
    return sorted(folder for folder in (path / "runs").glob("*") if is_run(folder))


def joined_folders(path: Path) -> list[Path]:
    """The folders that a joined comparison in `path` was made of; empty when it is none, or they are gone."""
    named = _json(path / JOINED).get("folders")
    folders = [Path(name) for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return folders if folders and all(folder.is_dir() for folder in folders) else []


def _json(path: Path) -> Mapping[str, Any]:
    try:
        read = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _spec(load: Callable[[Path], Mapping[str, Any]], path: Path) -> Mapping[str, Any]:
    try:
        return load(path)
    except UsageError:
        return {}
