"""`regatta watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Folder, given_or_latest
from orchestrator.spec.run import RunSpec

Once = Annotated[bool, typer.Option("--once", help="Print the current state once and exit.")]


Web = Annotated[bool, typer.Option("--web", help="Serve the report on 127.0.0.1, kept up to date during training.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of --web; 0 takes a free one.")]


def watch(run: Folder = None, once: Once = False, web: Web = False, port: Port = 0) -> None:
    """Watch a run that trains in another process, or show one that has ended."""
    from orchestrator.cli.terminal import console
    from orchestrator.errors import Interrupted
    from orchestrator.report.stored import UNREADABLE, unreadable
    from orchestrator.view.follow import watch as follow

    run = given_or_latest(run)
    try:
        if web:
            serve(run, port)
        follow(run, console(), once=once)
    except KeyboardInterrupt:
        raise Interrupted("no longer watching; the run continues.") from None
    except UNREADABLE as error:
        raise unreadable(run, error) from error


def serve(folder: Path, port: int) -> None:
    """Serve the page of the run or comparison in `folder` until Ctrl-C."""
    from orchestrator.cli.terminal import say
    from orchestrator.view.follow import current_run
    from orchestrator.view.web import WebView

    current_run(folder)
    with WebView(folder, port) as server:
        say(f"Open {server.address} in a browser on this host. Ctrl-C ends this page, not the run.")
        server.serve_forever()


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""
    app.command("watch", cls=GroupedCommand)(watch)
