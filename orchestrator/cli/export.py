"""Commands that take something out of a run's folder: `regatta export`, `regatta export-metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Folder, given_or_latest
from orchestrator.spec.run import RunSpec

ModelFormat = Annotated[str, typer.Option("--format", help="keras, savedmodel or weights.")]
ModelOut = Annotated[Path | None, typer.Option("--out", help="File or folder to write. Default: in RUN/export.")]
Format = Annotated[str, typer.Option("--format", help="parquet or csv.")]
Step = Annotated[int | None, typer.Option(min=0, help="Export the checkpoint of this step.")]
Best = Annotated[bool, typer.Option("--best", help="Export the best state that was scored.")]
Into = Annotated[Path | None, typer.Option("--out", help="Folder for the tables. Default: RUN/export.")]


def export(
    run: Folder = None,
    format_: ModelFormat = "keras",
    out: ModelOut = None,
    step: Step = None,
    best: Best = False,
) -> None:
    """Write the model of a run: a .keras file, a SavedModel, or its weights; the final ones, or a checkpoint's."""
    from orchestrator.cli.terminal import say
    from orchestrator.runs.exported_checkpoint import chosen_checkpoint
    from orchestrator.store.model_export import export_model

    run = given_or_latest(run)
    chosen = chosen_checkpoint(run, step=step, best=best)
    say(str(export_model(run, format_, out, None if chosen is None else chosen.request())))


def export_metrics(run: Folder = None, format_: Format = "parquet", out: Into = None) -> None:
    """Write a run's metrics as tables: one file per table of its metrics.db."""
    from orchestrator.cli.terminal import say
    from orchestrator.store.export import export as export_tables

    run = given_or_latest(run)
    for path in export_tables(run, format_, out or run / "export"):
        say(str(path))


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""
    app.command("export", cls=GroupedCommand)(export)
    app.command("export-metrics", cls=GroupedCommand)(export_metrics)
