"""Writes a leg's final weights and model to the run's folder, and what the job adds to them."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.api import Job
from workers import files
from workers.checkpoints import FINAL_MODEL, FINAL_WEIGHTS
from workers.model import state
from workers.session import say
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras


def run_folder(directory: str | None) -> Path | None:
    """The run's folder on this host; None for a leg without one.

    On a cluster the leader may run on another host than the driver. Without a shared file system, the folder of this
    name there is not the driver's. It is created anyway, so that nothing is lost; if that is not permitted, a temporary
    folder replaces it. The task's log says so.
    """
    if directory is None:
        return None
    folder = Path(directory)
    if folder.is_dir():
        return folder
    try:
        folder.mkdir(parents=True)
    except OSError:
        # Not in this process' own folder for temporary files, which is deleted when it ends.
        folder = Path(tempfile.mkdtemp(prefix="regatta-run-", dir=os.environ.get("TMPDIR", "/tmp")))  # noqa: S108
    say(f"the run's folder {directory} is not on this host; callbacks and the final weights go to {folder} here")
    return folder


def export(job: Job, model: keras.Model, final: Snapshot, folder: Path) -> None:
    """Load `final` into `model`, write its weights and the whole model, and call the job's `after_training`."""
    if not final.is_finite():
        say(f"the final weights are not finite: no {FINAL_WEIGHTS} and no {FINAL_MODEL} is written")
        return
    state.load(model, final)
    _write(folder / FINAL_WEIGHTS, model.save_weights, OSError)
    # Keras writes no layer without a `get_config` that it can call: such a model has its weights only.
    _write(folder / FINAL_MODEL, model.save, Exception)
    job.after_training(model, folder)


def _write(path: Path, save: Callable[[Path], None], expected: type[Exception]) -> None:
    """Write a file with `save`, whole or not at all; a full disk must not turn a trained model into a failed run."""
    try:
        files.make_folder(path.parent)
        unfinished = path.with_name(f".{secrets.token_hex(8)}.{path.name}")
        try:
            save(unfinished)
            files.flush(unfinished)
            unfinished.replace(path)
            files.flush_folder(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
    except expected as error:
        say(f"{path.name} is not written: {error}")
