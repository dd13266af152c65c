"""`regatta watch`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Folder, given_or_latest
from orchestrator.spec.run import RunSpec

Once = Annotated[bool, typer.Option("--once", help="Print the current state once and exit.")]


def watch(run: Folder = None, once: Once = False) -> None:
    """Watch a run that trains in another process, or show one that has ended."""
    from orchestrator.cli.terminal import console
    from orchestrator.errors import Interrupted
    from orchestrator.report.stored import UNREADABLE, unreadable
    from orchestrator.view.follow import watch as follow

    run = given_or_latest(run)
    try:
        follow(run, console(), once=once)
    except KeyboardInterrupt:
        raise Interrupted("no longer watching; the run continues.") from None
    except UNREADABLE as error:
        raise unreadable(run, error) from error


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""
    app.command("watch", cls=GroupedCommand)(watch)
