"""Exports the model that a run trained: as it was written at the end, or as a SavedModel for TensorFlow Serving."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError, UsageError
from orchestrator.store.folders import is_comparison, is_run
from workers import files
from workers.checkpoints import FINAL_MODEL, FINAL_WEIGHTS

FORMATS = {"keras": "model.keras", "savedmodel": "saved_model", "weights": "model.weights.h5"}
"""Names of the formats, and what the export is called unless it is given another name."""


def export_model(run: Path, format_: str, out: Path | None = None, checkpoint: Mapping[str, Any] | None = None) -> Path:
    """Write the model of the run in folder `run` to `out`, by default in `run`/export; returns where it is.

    `checkpoint` holds the fields of `workers.training.saved_model.Request` for a checkpoint's weights; without it, the
    final ones are written.

    Raises:
        UsageError: the format is unknown, the run has no such model, `out` exists already, or the model cannot be read
            without the user's classes.
    """
    if format_ not in FORMATS:
        raise UsageError(f"--format: {format_!r} is not allowed: {', '.join(FORMATS)}")
    source = _source(run, format_) if checkpoint is None else _regular(run / FINAL_MODEL)
    out = out or run / "export" / FORMATS[format_]
    if out.exists():
        raise UsageError(f"{out} exists already. Remove it, or write elsewhere with --out.")
    _check_suffix(format_, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if source is not None and checkpoint is None and format_ != "savedmodel":
        with files.open_regular(source) as read, files.create(out) as written:
            shutil.copyfileobj(read, written)
    else:
        _write({"format": format_, "model": source and str(source.absolute()), **(checkpoint or {})}, out)
    return out


def _check_suffix(format_: str, out: Path) -> None:
    """Raise UsageError for a name that Keras would not write, or not read back."""
    suffix = {"keras": ".keras", "weights": ".weights.h5"}.get(format_, "")
    if not out.name.endswith(suffix):
        raise UsageError(f"--out: {out} has to end in {suffix}, by which Keras knows the format.")


def _regular(path: Path) -> Path | None:
    return path if path.is_file() and not path.is_symlink() else None


def _source(run: Path, format_: str) -> Path:
    name = FINAL_WEIGHTS if format_ == "weights" else FINAL_MODEL
    if (found := _regular(run / name)) is not None:
        return found
    if not is_run(run) and is_comparison(run):
        runs = sorted(path.name for path in (run / "runs").glob("*") if is_run(path))
        raise UsageError(f"{run} is a comparison. Export one of its runs, such as {run / 'runs' / runs[0]}.")
    if not is_run(run):
        raise UsageError(f"{run} is not the folder of a run.")
    why = "a run writes it when its training ends, on the host of its leader"
    if format_ != "weights" and (run / FINAL_WEIGHTS).is_file():
        why = "Keras could not save this model as a whole (its leader's log says why); --format weights has its weights"
    raise UsageError(f"{run} has no {name}: {why}.")


def _write(request: Mapping[str, Any], out: Path) -> None:
    """Have a process that imports Keras write the model, under another name until it is whole."""
    unfinished = out.with_name(f".{secrets.token_hex(8)}.{out.name}")
    command = [sys.executable, "-P", "-m", "workers.training.saved_model"]
    asked = json.dumps({**request, "out": str(unfinished.absolute())})
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise ClusterError(f"TensorFlow could not write {out}: {reason}")
        answer = json.loads(done.stdout.splitlines()[-1])
        if answer["error"] is not None:
            raise UsageError(_explained(request, answer["kind"], answer["error"]))
        unfinished.replace(out)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.unlink(missing_ok=True)


def _explained(request: Mapping[str, Any], kind: str, problem: str) -> str:
    first = (problem.splitlines() or [problem])[0][:300]
    if kind == "checkpoint":
        return f"Checkpoint {request['checkpoint']['name']} cannot be exported: {first}"
    if kind == "job":
        return (
            f"The run has no model.keras that can be read by itself, and its job {request['job']} could not build the "
            f"model: {first}"
        )
    missing = re.search(r"Could not locate (?:class|function) '([^']+)'", problem)
    what = f"it uses {missing[1]}, which is not a part of Keras" if missing else first
    return (
        f"{request['model']} cannot be read back by itself: {what}. Decorate your classes with "
        "@keras.saving.register_keras_serializable(), and export the model in `after_training` of the job, or load the "
        ".keras file where they are imported. `--step` or `--best` builds the model with the job instead."
    )
