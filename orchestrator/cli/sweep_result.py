"""Prints what came of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.terminal import finish

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.results import Sweep


def finish_sweep(sweep: Sweep, folder: Path, as_json: bool) -> None:
    """Print what came of a sweep, and what to do next."""
    from orchestrator.report.terminal_sweep import print_sweep

    def show(console: Console) -> None:
        print_sweep(sweep, console)
        lines = [f"Report: {folder / 'report.html'}"]
        if sweep.command is not None:
            lines.append(f"Next: {sweep.command}, to train the best trial's values alone")
        if sweep.ended < sweep.wanted:
            lines.append(f"`regatta resume {folder}` goes on with the trials that are left")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    finish(sweep.to_json(), as_json, show)
