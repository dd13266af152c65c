"""What a leg leaves behind in its run's folder: the final weights, and what the job adds to them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.api import Job
from workers.model import state
from workers.session import say
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras

FINAL_WEIGHTS = "checkpoints/final.weights.h5"


def run_folder(directory: str | None) -> Path | None:
    """The run's folder as this host has it; None for a leg that leaves nothing.

    On a cluster the leader may sit on another host than the driver, and without a shared file system its folder of
    this name is not the driver's. It is made here all the same, so that nothing is lost; where that is not allowed,
    a temporary folder takes its place. The task's log says so.
    """
    if directory is None:
        return None
    folder = Path(directory)
    if folder.is_dir():
        return folder
    try:
        folder.mkdir(parents=True)
    except OSError:
        # Not in this process' own folder for temporary files, which goes when it ends.
        folder = Path(tempfile.mkdtemp(prefix="regatta-run-", dir=os.environ.get("TMPDIR", "/tmp")))  # noqa: S108
    say(f"the run's folder {directory} is not on this host; callbacks and the final weights go to {folder} here")
    return folder


def leave(job: Job, model: keras.Model, final: Snapshot, folder: Path) -> None:
    """Write the final weights, and let the job add what it wants; `model` is put into the final state."""
    if not final.is_finite():
        say(f"the final weights are not finite: no {FINAL_WEIGHTS} is written")
        return
    state.load(model, final)
    path = folder / FINAL_WEIGHTS
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    model.save_weights(unfinished)
    unfinished.replace(path)
    job.after_training(model, folder)
