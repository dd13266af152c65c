"""Exports the model that a run trained: as it was written at the end, or as a SavedModel for TensorFlow Serving."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import ClusterError, UsageError
from orchestrator.store.folders import is_comparison, is_run
from workers import files
from workers.checkpoints import FINAL_MODEL, FINAL_WEIGHTS

FORMATS = {"keras": "model.keras", "savedmodel": "saved_model", "weights": "model.weights.h5"}
"""Names of the formats, and what the export is called unless it is given another name."""


def export_model(run: Path, format_: str, out: Path | None = None) -> Path:
    """Write the final model of the run in folder `run` to `out`, by default in `run`/export; returns where it is.

    Raises:
        UsageError: the format is unknown, the run has no such model, `out` exists already, or the model cannot be read
            without the user's classes.
    """
    if format_ not in FORMATS:
        raise UsageError(f"--format: {format_!r} is not allowed: {', '.join(FORMATS)}")
    source = _source(run, format_)
    out = out or run / "export" / FORMATS[format_]
    if out.exists():
        raise UsageError(f"{out} exists already. Remove it, or write elsewhere with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if format_ == "savedmodel":
        _write_saved_model(source, out)
    else:
        with files.open_regular(source) as read, files.create(out) as written:
            shutil.copyfileobj(read, written)
    return out


def _source(run: Path, format_: str) -> Path:
    name = FINAL_WEIGHTS if format_ == "weights" else FINAL_MODEL
    if (run / name).is_file() and not (run / name).is_symlink():
        return run / name
    if not is_run(run) and is_comparison(run):
        runs = sorted(path.name for path in (run / "runs").glob("*") if is_run(path))
        raise UsageError(f"{run} is a comparison. Export one of its runs, such as {run / 'runs' / runs[0]}.")
    if not is_run(run):
        raise UsageError(f"{run} is not the folder of a run.")
    why = "a run writes it when its training ends, on the host of its leader"
    if format_ != "weights" and (run / FINAL_WEIGHTS).is_file():
        why = "Keras could not save this model as a whole (its leader's log says why); --format weights has its weights"
    raise UsageError(f"{run} has no {name}: {why}.")


def _write_saved_model(source: Path, out: Path) -> None:
    command = [sys.executable, "-P", "-m", "workers.training.saved_model", str(source.absolute()), str(out.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(out, ignore_errors=True)
        raise ClusterError(f"TensorFlow could not write {out}: {done.stderr.strip().splitlines()[-1]}")
    problem = json.loads(done.stdout.splitlines()[-1])["error"]
    if problem is not None:
        missing = re.search(r"Could not locate (?:class|function) '([^']+)'", problem)
        what = f"it uses {missing[1]}, which is not a part of Keras" if missing else problem.splitlines()[0][:300]
        raise UsageError(
            f"{source} cannot be read back by itself: {what}. Decorate your classes with "
            "@keras.saving.register_keras_serializable(), and export the model in `after_training` of the job, or load "
            "the .keras file where they are imported."
        )
