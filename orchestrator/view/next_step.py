"""Says what a finished run or comparison left behind, and which command comes next."""

from __future__ import annotations

import shlex
from pathlib import Path

from orchestrator.results import Comparison, RunResult
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


def after_comparison(comparison: Comparison, folder: Path) -> list[str]:
    """Lines with the command that serves a model of the winner; none without a winner, or without a model of it."""
    winner = comparison.verdict.winner
    if winner is None or winner not in comparison.modes:
        return []
    runs = [folder / "runs" / result.run_id for result in comparison.modes[winner].runs if result.status == "succeeded"]
    model = next((run for run in runs if (run / FINAL_MODEL).is_file()), None)
    if model is None:
        return []
    command = f"regatta serve {shlex.quote(str(model))} --name my_model"
    return [f"Serve the winner ({winner}; needs regatta[serve]): {command}"]
