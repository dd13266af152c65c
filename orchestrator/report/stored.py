"""Stored runs and comparisons, read from their folders."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.report.recovery import recover, samples_per_step
from orchestrator.results import Comparison, RunResult
from orchestrator.store.directory import COMPARISON, PLAN, RESULT, SPEC
from orchestrator.store.documents import read_text
from orchestrator.store.folders import is_run, load_comparison, load_environment, load_result
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.versions import other_version

UNREADABLE = (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Errors that reading a run's folder may raise if its files were changed by hand or with malice."""


@dataclass(frozen=True)
class StoredRun:
    """A run's result, and the other files in its folder."""

    result: RunResult
    path: Path | None = None
    """Null if only the result is known: then there are no curves."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] | None = None
    read: dict[tuple[Any, ...], list[tuple[Any, ...]]] = field(default_factory=dict, compare=False, repr=False)
    """Answers of its metrics.db: a run of a million steps takes about a second to answer, and charts ask alike."""

    @property
    def samples_per_step(self) -> float | None:
        result = self.result
        measured = result.samples / result.steps if result.samples and result.steps else None
        return samples_per_step(self.plan) or measured

    @contextmanager
    def metrics(self) -> Iterator[Metrics | None]:
        """Its metrics.db, open for reading; None if there is none that can be read."""
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
        """Rows of its metrics.db, read once; empty if the file or the table is missing or damaged."""
        asked = (query, *arguments)
        if asked not in self.read:
            with self.metrics() as metrics:
                try:
                    self.read[asked] = metrics.rows(query, *arguments) if metrics is not None else []
                except sqlite3.Error:
                    self.read[asked] = []
        return self.read[asked]


def unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path} cannot be read ({type(error).__name__}: {error}): its files are damaged or of another version."
        f"{other_version(path)}"
    )


def load_run(path: Path) -> StoredRun:
    """The run in folder `path`; its result is recovered from metrics.db if the driver died before writing it.

    Raises:
        UsageError: the folder is not a run's, or a file in it cannot be read.
    """
    spec, plan = mapping_or_empty(path / SPEC), mapping_or_empty(path / PLAN)
    result = load_result(path) if (path / RESULT).is_file() else recover(path, spec, plan)
    return StoredRun(result, path, spec, plan, load_environment(path))


def stored_comparison(path: Path) -> Comparison | None:
    """The comparison.json in folder `path`; None if there is none."""
    return load_comparison(path) if (path / COMPARISON).is_file() else None


def run_folders(path: Path) -> list[Path]:
    """Folders of the runs of the comparison in folder `path`; `path` alone if it is a run's; empty if neither."""
    runs = sorted(folder for folder in (path / "runs").glob("*") if is_run(folder))
    if runs or (path / COMPARISON).is_file():
        return runs
    return [path] if is_run(path) else []


def mapping_or_empty(path: Path) -> Mapping[str, Any]:
    """The mapping in YAML or JSON file `path`; empty if there is none."""
    from orchestrator.spec import yaml

    parse = json.loads if path.suffix == ".json" else yaml.load
    try:
        read = parse(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
