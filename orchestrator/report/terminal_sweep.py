"""A sweep on the terminal: the table of its trials and the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.report.sweep import headline, progress, trial_columns, trial_rows
from orchestrator.results import Sweep

if TYPE_CHECKING:
    from rich.console import Console


def print_sweep(sweep: Sweep, console: Console) -> None:
    """Print the trials, the best first, and what came of them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in trial_columns(sweep):
        rows.add_column(Text(name), justify="left" if name == "state" else "right")
    for row in trial_rows(sweep):
        rows.add_row(*map(Text, row))
    console.print(rows)
    for line in (f"{progress(sweep)}.", headline(sweep)):
        console.print(Text(line), soft_wrap=True)
