"""`regatta watch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Dashboard, local_folder
from orchestrator.errors import Interrupted, UsageError
from orchestrator.spec.run import RunSpec

if TYPE_CHECKING:
    from orchestrator.submit.submitted_page import SubmittedPage
    from orchestrator.view.web import Page

Run = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="Folder of a run or a comparison, or with --web name of a submitted one. Default: the latest in runs/.",
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Print the current state once and exit.")]
Web = Annotated[bool, typer.Option("--web", help="Serve the report on 127.0.0.1, kept up to date during training.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of --web; 0 takes a free one.")]


def watch(run: Run = None, once: Once = False, web: Web = False, port: Port = 0, address: Dashboard = None) -> None:
    """Watch a run that trains in another process, or show one that has ended."""
    from orchestrator.cli.terminal import console
    from orchestrator.report.stored import UNREADABLE, unreadable
    from orchestrator.view.follow import current_run
    from orchestrator.view.follow import watch as follow
    from orchestrator.view.web import LivePage

    folder = local_folder(run, address)
    try:
        if folder is None and run is not None and address is not None:
            serve(submitted_page(run, address, web), port)
            return
        folder = folder or Path(str(run))
        if web:
            current_run(folder)
            serve(LivePage(folder), port)
        else:
            follow(folder, console(), once=once)
    except KeyboardInterrupt:
        raise Interrupted("no longer watching; the run continues.") from None
    except UNREADABLE as error:
        raise unreadable(folder or Path(), error) from error


def serve(page: Page, port: int) -> None:
    """Serve `page` until Ctrl-C."""
    from orchestrator.cli.terminal import say
    from orchestrator.view.web import WebView

    with WebView(page, port) as server:
        say(f"Open {server.address} in a browser on this host. Ctrl-C ends this page, not the run.")
        server.serve_forever()


def submitted_page(run: str, address: str, web: bool) -> SubmittedPage:
    """The page of the submitted run `run`.

    Raises:
        UsageError: no --web, or no such run.
    """
    from orchestrator.cli.submit import FETCH_SECONDS, cluster_at
    from orchestrator.submit import transfer
    from orchestrator.submit.follow import wait_for
    from orchestrator.submit.submitted_page import SubmittedPage

    if not web:
        raise UsageError(
            f"The dashboard of a submitted run is a page: `regatta watch {run} --web`. `regatta logs -f {run}` shows "
            "what it prints."
        )
    cluster = cluster_at(address)
    return SubmittedPage(
        lambda: transfer.unpack(cluster.sent(run, "page", lambda poll: wait_for(poll, FETCH_SECONDS)).splitlines())
    )


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""
    app.command("watch", cls=GroupedCommand)(watch)
