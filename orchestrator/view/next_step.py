"""Says what a finished run or comparison left behind, and which command comes next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from orchestrator.report import HTML
from orchestrator.results import Comparison, RunResult, Sweep
from workers.checkpoints import FINAL_MODEL, FINAL_WEIGHTS
from workers.messages import INTERRUPTED

SUBMISSION = "REGATTA_SUBMISSION"
"""Environment variable with the name of the submission that a command on a cluster's head is run for."""


def after_run(result: RunResult, folder: Path) -> list[str]:
    """Lines with the model, the folder and the next command of a run, whose folder is `folder`."""
    if name := os.environ.get(SUBMISSION):
        return _fetched(name, folder)
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
    """Lines with the report and the models of a comparison, its folder, and the command that serves the winner."""
    if name := os.environ.get(SUBMISSION):
        return _fetched(name, folder)
    lines = [f"Report: {folder / HTML}"]
    if any(folder.glob(f"runs/*/{FINAL_MODEL}")):
        lines.append(f"Models: {folder}/runs/*/{FINAL_MODEL}")
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


def after_sweep(sweep: Sweep, folder: Path) -> list[str]:
    """Lines with the report of a sweep, and the commands that train its best trial and the trials that are left."""
    if name := os.environ.get(SUBMISSION):
        return _fetched(name, folder)
    lines = [f"Report: {folder / HTML}"]
    if sweep.command is not None:
        lines.append(f"Next: {sweep.command}, to train the best trial's values alone")
    if sweep.ended < sweep.wanted:
        lines.append(f"`regatta resume {folder}` goes on with the trials that are left")
    return lines


def _fetched(name: str, folder: Path) -> list[str]:
    """Lines of a submitted run, read on another machine than the one that has `folder`."""
    return [f"Folder: {folder}, on the cluster", f"Next: regatta fetch {name}, which brings it to you"]
