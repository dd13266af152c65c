"""`regatta resume`: continues a run in its folder after its driver has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.runs.checkpoints import Resumed, checkpointing
from orchestrator.runs.execution import Planned
from orchestrator.runs.mode_changes import modes_so_far, stage_at, told
from orchestrator.spec import trust
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RESULT, SPEC
from orchestrator.store.folders import load_result, load_spec
from orchestrator.store.locks import check_not_driven
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.time_parts import spent
from orchestrator.store.versions import other_version
from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.store import CheckpointStore, none_usable


def plan_resume(path: Path, changes: Mapping[str, Any]) -> tuple[Planned, str]:
    """The run in folder `path`, with `changes` to its spec, planned to continue; and where it continues, in words.

    Raises:
        UsageError: there is no run, it has succeeded, its driver is still running, or none of its checkpoints can be
            trusted.
    """
    given = load_spec(path)
    modes = modes_so_far(path, str(given.get("mode")))
    spec, run_id = _changed(path, given, {"mode": modes[-1]} | {k: v for k, v in changes.items() if v is not None})
    if (path / RESULT).exists() and (result := load_result(path)).status == "succeeded":
        raise UsageError(
            f"The run in {path} has succeeded ({result.stop_reason}), so there is nothing to resume. To train longer, "
            "start a run with a larger budget."
        )
    check_not_driven(path)
    resumed, start = find_start(spec, run_id, path)
    resumed = replace(resumed, modes=modes)
    return Planned(spec, path, run_id, claimed=True, resumed=resumed), start


def _changed(path: Path, given: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[RunSpec, str]:
    """The spec of the run in folder `path`, which is `given`, with `changes`; and the run's id.

    Raises:
        UsageError: it is not valid.
    """
    trust.check(path / SPEC, given, changes)
    # The checkpoints are of batches of `batch_size`, also if there are fewer workers to share a step now.
    changed = {key: value for key, value in changes.items() if value is not None}
    values = dict(given) | {"global_batch_size": None} | changed
    try:
        spec = RunSpec.make(values)
    except SpecError as error:
        raise UsageError(f"{error.message}{other_version(path)}") from None
    return spec, spec.run_id or path.name


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
