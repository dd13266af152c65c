"""The run that a command is about when the user names none: the latest in the folder `runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.store.folders import RUNS

Folder = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN_DIR]", help="Folder of a run or a comparison. Default: the latest one in runs/."),
]


def given_or_latest(path: Path | None, *, resumable: bool = False) -> Path:
    """`path`, or the folder of the latest run, which is named on stderr.

    Raises:
        UsageError: `path` is None, and there is no run in the folder `runs`.
    """
    if path is not None:
        return path
    from orchestrator.cli.terminal import say
    from orchestrator.view.catalog import latest

    found = latest(RUNS, resumable=resumable)
    say(f"The latest {'unfinished run' if resumable else 'run'}: {found}", err=True)
    return found
