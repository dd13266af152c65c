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
    from orchestrator.view.next_step import after_sweep

    def show(console: Console) -> None:
        print_sweep(sweep, console)
        for line in after_sweep(sweep, folder):
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    finish(sweep.to_json(), as_json, show)
