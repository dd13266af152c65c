"""Says what a finished run or comparison left behind, and which command comes next."""

from __future__ import annotations

import shlex
from pathlib import Path

from orchestrator.results import Comparison, RunResult
from workers.checkpoints import FINAL_MODEL, FINAL_WEIGHTS
from workers.messages import INTERRUPTED


def after_run(result: RunResult, folder: Path) -> list[str]:
    """Lines with the model, the folder and the next command of a run, whose folder is `folder`."""
    model = next((folder / name for name in (FINAL_MODEL, FINAL_WEIGHTS) if (folder / name).is_file()), None)
    lines = [] if model is None else [f"Model: {model}"]
    lines.append(f"Folder: {folder}")
    if result.status == "succeeded":
        job = result.job
        lines.append(f"Next: regatta report {folder}, or regatta compare {job} to see whether another mode is faster")
    elif result.stop_reason != INTERRUPTED:  # of which the command's last line says it
        lines.append(f"Next: regatta resume {folder}, which continues from its last checkpoint, if it has one")
    return lines


def after_comparison(comparison: Comparison, folder: Path) -> list[str]:
    """Lines with the models of a comparison, its folder, and the command that serves a model of the winner."""
    lines = [f"Models: {folder}/runs/*/{FINAL_MODEL}"] if any(folder.glob(f"runs/*/{FINAL_MODEL}")) else []
    lines.append(f"Folder: {folder}")
    winner = comparison.verdict.winner
    if winner is None or winner not in comparison.modes:
        return lines
    runs = [folder / "runs" / result.run_id for result in comparison.modes[winner].runs if result.status == "succeeded"]
    model = next((run for run in runs if (run / FINAL_MODEL).is_file()), None)
    if model is None:
        return lines
    command = f"regatta serve {shlex.quote(str(model))} --name my_model"
    return [*lines, f"Serve the winner ({winner}; needs regatta[serve]): {command}"]
