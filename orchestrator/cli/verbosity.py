"""The flags that say how much a command prints."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.spec.job_description import shows_output

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.", rich_help_panel="Output")]


def _show_output(verbose: bool) -> bool:
    """Have what a job prints before anything is started be shown."""
    shows_output.set(verbose)
    return verbose


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_show_output,
        help="Also evaluations, findings and what the job prints.",
        rich_help_panel="Output",
    ),
]
