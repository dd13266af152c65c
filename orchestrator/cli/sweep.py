"""`regatta sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.cli.flags import Job, Json, to_fields, with_spec_flags
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.sweep_result import finish_sweep
from orchestrator.cli.values import parse_settings
from orchestrator.cli.verbosity import Quiet, Verbose
from orchestrator.errors import UsageError
from orchestrator.spec.run import RunSpec
from orchestrator.spec.sweep import ARGUMENT, SweepSpec

_PANEL = "Training"
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUES",
        help="What is searched: log:1e-4..1e-1, 0.1..0.5, 2..6 or a,b,c; of a field, or of a param of the job. "
        "May be repeated.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Trials = Annotated[int, typer.Option("--trials", min=1, max=10_000, help="Number of trials.", rich_help_panel=_PANEL)]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="What trials are judged by, at their end. Default: the metric of the job's target, or val_loss.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Better = Annotated[
    Literal["maximize", "minimize"] | None,
    typer.Option(
        "--direction", help="Which is better. Default: by the metric.", rich_help_panel=_PANEL, show_default=False
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune/--no-prune",
        help="Stop trials that are in the worst quarter at an evaluation.",
        rich_help_panel=_PANEL,
    ),
]


def searched(given: Sequence[str]) -> dict[str, str]:
    """What `--param` says, by name. Raises UsageError if a name is given twice."""
    params = parse_settings(given, "--param")
    if len(params) < len(given):
        raise UsageError("param: a parameter is given twice.")
    return params


def as_flags(spec: SweepSpec) -> list[str]:
    """The arguments of `regatta sweep` with a spec file of the run that `spec` has, which make `spec` again."""
    params = [
        part for name, text in spec.params.items() for part in ("--param", f"{name.removeprefix(ARGUMENT)}={text}")
    ]
    judged = ["--trials", str(spec.trials), "--metric", spec.metric, "--direction", spec.direction]
    args = spec.run.params.get("args") if any(name.startswith(ARGUMENT) for name in spec.params) else None
    return [*params, *judged, *(() if spec.prune else ("--no-prune",)), *(("--", *args) if args else ())]


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""

    def sweep(
        job: Job,
        param: Param = None,
        trials: Trials = 20,
        metric: Metric = None,
        direction: Better = None,
        prune: Prune = True,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        **given: Any,
    ) -> None:
        """Search for the best values of a job's parameters, over many trials; needs the extra `sweep`."""
        from orchestrator.api import sweep as train_trials
        from orchestrator.cli.train import live_view
        from orchestrator.store.folders import RUNS
        from orchestrator.sweep.plan import resolve_sweep
        from orchestrator.sweep.study import check_installed

        check_installed()
        params = searched(param or ())
        if not params:
            raise UsageError(
                "param: a sweep needs something to search: --param learning_rate=log:1e-4..1e-1, for example."
            )
        spec = resolve_sweep(
            job, to_fields(given, kind), params, trials=trials, metric=metric, direction=direction, prune=prune,
            kind=kind,
        )  # fmt: skip
        with live_view(quiet, verbose) as view:
            found = train_trials(spec, view)
        finish_sweep(found, Path(spec.run.out) if spec.run.out else RUNS / found.sweep_id, as_json)

    app.command(cls=GroupedCommand)(with_spec_flags(sweep, kind, without=("target",)))
