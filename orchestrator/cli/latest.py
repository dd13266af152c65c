"""The run that a command is about when the user names none: the latest in the folder `runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.store.folders import RUNS, is_comparison, is_run, is_sweep

Folder = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN_DIR]", help="Folder of a run or a comparison. Default: the latest one in runs/."),
]

Dashboard = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="Dashboard of a submitted run: http://HOST:8265."),
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


def local_folder(run: str | None, address: str | None) -> Path | None:
    """The folder that `run` names; None for a submitted run, which a bare name is where there is an address."""
    if run is None:
        return given_or_latest(None)
    candidates = [Path(run)] if address else [Path(run), RUNS / run]
    return next((path for path in candidates if is_run(path) or is_comparison(path) or is_sweep(path)), None)
