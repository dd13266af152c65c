"""Commands that read a run's folder: `regatta watch`, `regatta export-metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Folder, given_or_latest
from orchestrator.spec.run import RunSpec

Once = Annotated[bool, typer.Option("--once", help="Print the current state once and exit.")]
Format = Annotated[str, typer.Option("--format", help="parquet or csv.")]
Into = Annotated[Path | None, typer.Option("--out", help="Folder for the tables. Default: RUN/export.")]


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


def export_metrics(run: Folder = None, format_: Format = "parquet", out: Into = None) -> None:
    """Write a run's metrics as tables: one file per table of its metrics.db."""
    from orchestrator.cli.terminal import say
    from orchestrator.store.export import export

    run = given_or_latest(run)
    for path in export(run, format_, out or run / "export"):
        say(str(path))


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""
    app.command("watch", cls=GroupedCommand)(watch)
    app.command("export-metrics", cls=GroupedCommand)(export_metrics)
