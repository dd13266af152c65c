"""Finds where a run continues whose driver has ended: its last attempt, and its last checkpoint."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.runs.checkpoints import Resumed, checkpointing
from orchestrator.runs.mode_changes import stage_at, told
from orchestrator.spec.run import RunSpec
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.time_parts import spent
from orchestrator.store.versions import other_version
from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.store import CheckpointStore, none_usable


def find_start(spec: RunSpec, run_id: str, path: Path) -> tuple[Resumed, str]:
    """Where the run in folder `path` continues, as data and in words.

    Raises:
        UsageError: its checkpoints cannot be read, or none of them can be trusted.
    """
    last = _last_attempt(path)
    settings = checkpointing(spec, run_id, path, spec.workers)
    if settings is None:
        return replace(last, attempt=last.attempt + 1), "from the beginning: its checkpoints were switched off"
    try:
        store = CheckpointStore(open_storage(settings.destination), run_id)
        attempt = max(last.attempt, store.attempt())
        found = store.latest()
    except (CheckpointError, OSError) as error:
        raise UsageError(f"checkpoints: those of the run cannot be read: {error}") from None
    if found.checkpoint is None and found.passed_over:
        raise UsageError(none_usable(found.passed_over, store.url) + other_version(path))
    stage, start = 0, "from the beginning: no checkpoint was written yet"
    if found.checkpoint is not None:
        manifest = found.checkpoint.manifest
        start = f"from step {manifest.step:,} ({store.url}/{found.checkpoint.name})"
        stage = stage_at(path, spec.mode, manifest.step)
        start = " ".join(filter(None, [start, told(found.checkpoint, spec.mode, stage)]))
    return replace(last, attempt=attempt + 1, stage=stage), ". ".join([*found.passed_over, start])


def _last_attempt(path: Path) -> Resumed:
    """The last attempt, with the last recorded value of the run's clock, and what of it was no training step."""
    if not (path / METRICS).is_file():
        return Resumed(1, 0.0)
    try:
        metrics = Metrics(path)
        try:
            attempts = metrics.rows("SELECT (SELECT MAX(attempt) FROM steps), (SELECT MAX(attempt) FROM events)")[0]
            clocks = metrics.column("SELECT MAX(clock) FROM steps")
        finally:
            metrics.close()
        last = max(1, *(int(attempt or 1) for attempt in attempts))
        return Resumed(last, max(0.0, float(clocks[0] or 0.0)), spent(path))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise UsageError(f"{path / METRICS} cannot be read ({error}), so the run cannot be resumed.") from None
