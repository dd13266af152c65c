"""Says what a finished run left behind, and which command comes next."""

from __future__ import annotations

from pathlib import Path

from orchestrator.results import RunResult
from workers.checkpoints import FINAL_MODEL, FINAL_WEIGHTS


def after_run(result: RunResult, folder: Path) -> list[str]:
    """Lines with the model, the folder and the next command of a run, whose folder is `folder`."""
    model = next((folder / name for name in (FINAL_MODEL, FINAL_WEIGHTS) if (folder / name).is_file()), None)
    lines = [] if model is None else [f"Model: {model}"]
    lines.append(f"Folder: {folder}")
    if result.status == "succeeded":
        job = result.job
        lines.append(f"Next: regatta report {folder}, or regatta compare {job} to see whether another mode is faster")
    else:
        lines.append(f"Next: regatta resume {folder}, which continues from its last checkpoint, if it has one")
    return lines
