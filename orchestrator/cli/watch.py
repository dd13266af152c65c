"""The commands that look at runs: `regatta watch`, `regatta export-metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.spec.run import RunSpec

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of a comparison.")]
Once = Annotated[bool, typer.Option("--once", help="One picture, and no more.")]
Format = Annotated[str, typer.Option("--format", help="parquet or csv.")]
Into = Annotated[Path | None, typer.Option("--out", help="Folder for the tables; RUN/export when not given.")]


def watch(run: Run, once: Once = False) -> None:
    """Watch a run that trains in another process, or look at one that is over."""
    from orchestrator.cli.terminal import console
    from orchestrator.errors import Interrupted
    from orchestrator.report.stored import UNREADABLE, unreadable
    from orchestrator.view.follow import watch as follow

    try:
        follow(run, console(), once=once)
    except KeyboardInterrupt:
        raise Interrupted("no longer watching; the run goes on.") from None
    except UNREADABLE as error:
        raise unreadable(run, error) from error


def export_metrics(run: Run, format_: Format = "parquet", out: Into = None) -> None:
    """Write a run's metrics as tables: one file per table of its metrics.db."""
    from orchestrator.cli.terminal import say
    from orchestrator.store.export import export

    for path in export(run, format_, out or run / "export"):
        say(str(path))


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""
    app.command("watch", cls=GroupedCommand)(watch)
    app.command("export-metrics", cls=GroupedCommand)(export_metrics)
