"""Commands that train, or plan to: run, compare, resume, plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import Job, Json, Modes, Predictions, Vary, to_fields, with_spec_flags
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import given_or_latest
from orchestrator.cli.terminal import console, finish, say
from orchestrator.cli.verbosity import Quiet, Verbose
from orchestrator.errors import Interrupted, JobError, Terminated
from orchestrator.spec.run import RunSpec
from workers.messages import INTERRUPTED, NOT_FINITE

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.results import Comparison, RunResult
    from orchestrator.view.live import LiveView


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""

    def compare(
        job: Job,
        modes: Modes = None,
        vary: Vary = None,
        predictions: Predictions = None,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        **given: Any,
    ) -> None:
        """Train a job in several modes with several seeds, and report which mode wins."""
        from orchestrator.api import compare as compare_runs
        from orchestrator.foresight.predictions import check_fits, judge, latest, read_predictions
        from orchestrator.report import write_reports
        from orchestrator.spec.resolve import resolve_comparison
        from orchestrator.store.directory import write_comparison
        from orchestrator.store.folders import RUNS

        _refuse_taken(given)
        frozen = None if predictions is None else read_predictions(predictions)
        spec = resolve_comparison(job, to_fields({**given, "modes": modes, "vary": vary}, kind), kind)
        if frozen is None:
            frozen = latest(spec.run)
        else:
            check_fits(frozen, spec.run)
        with live_view(quiet, verbose) as view:
            comparison = compare_runs(spec, view, resolved=True)
        folder = Path(spec.run.out) if spec.run.out else RUNS / comparison.comparison_id
        if frozen is not None:
            comparison = judge(frozen, comparison)
            write_comparison(folder, comparison)
            write_reports(folder)
        _finish_comparison(comparison, folder, as_json)

    def run(job: Job, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False, **given: Any) -> None:
        """Train a job once, in one mode."""
        from orchestrator.api import run as run_once
        from orchestrator.spec.resolve import resolve_run
        from orchestrator.store.folders import RUNS

        _refuse_taken(given)
        spec = resolve_run(job, to_fields(given, kind), kind)
        with live_view(quiet, verbose, console(stderr=as_json)) as view:
            result = run_once(spec, view, resolved=True)
        _finish_run(result, Path(spec.out) if spec.out else RUNS / result.run_id, as_json)

    def plan(job: Job, as_json: Json = False, **given: Any) -> None:
        """Show a run's tasks, hosts, resources and TF_CONFIG, without starting anything."""
        from orchestrator.cli.tables import print_plan
        from orchestrator.cluster.planning import plan_where
        from orchestrator.spec.resolve import resolve_run

        document = plan_where(resolve_run(job, to_fields(given, kind), kind))
        finish(document, as_json, lambda console: print_plan(document, console))

    add = app.command(cls=GroupedCommand)
    add(with_spec_flags(compare, kind, comparison=True, run=False))
    add(with_spec_flags(run, kind))
    kept = (
        *("mode", "workers", "min_workers", "address", "backend", "timeout"),
        *("env_secrets", "checkpoints", "mlflow", "wandb"),
    )
    add(with_spec_flags(resume, kind, only=kept, default="as before"))
    add(with_spec_flags(plan, kind, without=("out", "run_id")))


def resume(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN_DIR]",
            help="Folder of an unfinished run, comparison or sweep. Default: the latest one in runs/.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    **changes: Any,
) -> None:
    """Resume an unfinished run, comparison or sweep from its last checkpoint."""
    from orchestrator import api
    from orchestrator.cli.sweep_result import finish_sweep
    from orchestrator.results import RunResult, Sweep

    path = given_or_latest(path, resumable=True)
    train = api.prepare_resume(path, changes, lambda text: None if quiet else say(text, err=True))
    with live_view(quiet, verbose, console(stderr=as_json)) as view:
        result = train(view)
    if isinstance(result, RunResult):
        _finish_run(result, path, as_json)
    elif isinstance(result, Sweep):
        finish_sweep(result, path, as_json)
    else:
        _finish_comparison(result, path, as_json)


def _refuse_taken(given: Mapping[str, Any]) -> None:
    """Raises UsageError if the folder that the flags choose is taken: before a script is run up to its `fit`."""
    from orchestrator.store.folders import RUNS
    from orchestrator.store.locks import refuse_taken

    if given.get("out"):
        refuse_taken(Path(given["out"]))
    elif given.get("run_id"):
        refuse_taken(RUNS / given["run_id"])


def _check_finite(result: RunResult) -> None:
    """Raises JobError, for exit code 3, if the run ended because its weights were not finite."""
    if result.stop_reason == NOT_FINITE:
        raise JobError(
            f"{result.run_id}: {result.failures[-1].summary}. Lower the learning rate, clip gradients (clipnorm=1.0), "
            "or go on from a good snapshot at half the rate with --on-instability rollback."
        )


@contextmanager
def live_view(quiet: bool, verbose: bool, output: Console | None = None) -> Iterator[LiveView]:
    """Show the live view on stderr, and what a script prints on `output`.

    Inside, Ctrl-C ends the command with exit code 130, SIGTERM and SIGHUP with 0.
    """
    from orchestrator.control import signals
    from orchestrator.view.live import LiveView

    signals.install_handlers()
    try:
        with LiveView(console(stderr=True), quiet=quiet, verbose=verbose, output=output) as view:
            yield view
    except KeyboardInterrupt as ending:
        raise Interrupted(_ended("interrupted", ending)) from None
    except signals.Preempted as ending:
        raise Terminated(_ended("received SIGTERM or SIGHUP", ending)) from None


def _ended(how: str, ending: BaseException) -> str:
    return " ".join([f"{how}; all processes it started were stopped.", *getattr(ending, "__notes__", ())])


def _finish_run(result: RunResult, folder: Path, as_json: bool) -> None:
    from orchestrator.report.terminal import print_run
    from orchestrator.view.next_step import after_run

    def show(console: Console) -> None:
        print_run(result, console)
        console.print()
        for line in after_run(result, folder):
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    finish(result.to_json(), as_json, show)
    _check_finite(result)
    if result.stop_reason == INTERRUPTED:
        steps = "" if result.steps is None else f" after step {result.steps:,}"
        raise Interrupted(f"interrupted{steps}. `regatta resume {folder}` continues from its last checkpoint.")


def _finish_comparison(comparison: Comparison, folder: Path, as_json: bool) -> None:
    from orchestrator.report.terminal import print_comparison
    from orchestrator.view.next_step import after_comparison

    def show(console: Console) -> None:
        print_comparison(comparison, console)
        if comparison.predictions is not None:
            from orchestrator.cli.forecasts import print_judged

            print_judged(comparison.predictions, console)
        console.print()
        for line in after_comparison(comparison, folder):
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    finish(comparison.to_json(), as_json, show)
