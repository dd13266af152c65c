"""The command line: parses, calls, prints. Everything it does can be done from Python (`orchestrator.api`)."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import flags as opt
from orchestrator.cli import kuberay, submit
from orchestrator.cli import watch as watching
from orchestrator.cli.terminal import console, paragraph, say
from orchestrator.errors import Interrupted, JobError, RegattaError, WantedBack

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.results import Comparison
    from orchestrator.view.live import LiveView

app = typer.Typer(
    name="regatta",
    help="Train a Keras model synchronously and asynchronously on Ray, and learn which one wins.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def compare(
    target: opt.Target,
    modes: opt.Modes = None,
    seeds: opt.Seeds = None,
    vary: opt.Vary = None,
    margin: opt.Margin = None,
    tune_lr: opt.TuneLr = None,
    workers: opt.WorkerCounts = None,
    min_workers: opt.MinWorkers = None,
    ps: opt.Ps = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    devices_per_replica: opt.DevicesPerReplica = None,
    cpus_per_task: opt.CpusPerTask = None,
    batch_size: opt.BatchSizes = None,
    samples: opt.Samples = None,
    epochs: opt.Epochs = None,
    target_metric: opt.TargetMetric = None,
    eval_every: opt.EvalEvery = None,
    seed: opt.Seed = None,
    set_: opt.Set = None,
    learning_rate: opt.LearningRate = None,
    balance: opt.Balance = None,
    gradient_noise: opt.GradientNoise = None,
    straggler: opt.Straggler = None,
    on_instability: opt.OnInstability = None,
    monitor: opt.Monitor = None,
    sample_seconds: opt.SampleSeconds = None,
    mlflow: opt.Mlflow = None,
    env_secret: opt.EnvSecret = None,
    price: opt.Price = None,
    steps_per_call: opt.StepsPerCall = None,
    sharding: opt.Sharding = None,
    cache: opt.Cache = None,
    prefetch: opt.Prefetch = None,
    mixed_precision: opt.MixedPrecision = None,
    jit: opt.Jit = None,
    placement: opt.Placement = None,
    worker_label: opt.WorkerLabel = None,
    resources: opt.Resources = None,
    interface: opt.Interface = None,
    address: opt.Address = None,
    out: opt.Out = None,
    run_id: opt.RunId = None,
    timeout: opt.Timeout = None,
    launch_timeout: opt.LaunchTimeout = None,
    checkpoints: opt.Checkpoints = None,
    checkpoint_every: opt.CheckpointEvery = None,
    checkpoint_seconds: opt.CheckpointSeconds = None,
    checkpoint_keep: opt.CheckpointKeep = None,
    max_restarts: opt.MaxRestarts = None,
    hang_seconds: opt.HangSeconds = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Train a job in several modes with several seeds, and say which mode wins."""
    given = opt.to_fields(_spec_arguments(locals()))
    from orchestrator.api import RUNS
    from orchestrator.api import compare as compare_runs
    from orchestrator.spec.resolve import resolve_comparison

    spec = resolve_comparison(target, given)
    with _view(quiet, verbose) as view:
        comparison = compare_runs(spec, view, resolved=True)
    _finish_comparison(comparison, Path(spec.run.out) if spec.run.out else RUNS / comparison.comparison_id, as_json)


@app.command()
def run(
    target: opt.Target,
    mode: opt.Mode = None,
    workers: opt.Workers = None,
    min_workers: opt.MinWorkers = None,
    ps: opt.Ps = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    devices_per_replica: opt.DevicesPerReplica = None,
    cpus_per_task: opt.CpusPerTask = None,
    batch_size: opt.BatchSize = None,
    samples: opt.Samples = None,
    epochs: opt.Epochs = None,
    target_metric: opt.TargetMetric = None,
    eval_every: opt.EvalEvery = None,
    seed: opt.Seed = None,
    set_: opt.Set = None,
    learning_rate: opt.LearningRate = None,
    balance: opt.Balance = None,
    gradient_noise: opt.GradientNoise = None,
    straggler: opt.Straggler = None,
    on_instability: opt.OnInstability = None,
    monitor: opt.Monitor = None,
    sample_seconds: opt.SampleSeconds = None,
    mlflow: opt.Mlflow = None,
    env_secret: opt.EnvSecret = None,
    price: opt.Price = None,
    steps_per_call: opt.StepsPerCall = None,
    sharding: opt.Sharding = None,
    cache: opt.Cache = None,
    prefetch: opt.Prefetch = None,
    mixed_precision: opt.MixedPrecision = None,
    jit: opt.Jit = None,
    placement: opt.Placement = None,
    worker_label: opt.WorkerLabel = None,
    resources: opt.Resources = None,
    interface: opt.Interface = None,
    address: opt.Address = None,
    out: opt.Out = None,
    run_id: opt.RunId = None,
    timeout: opt.Timeout = None,
    launch_timeout: opt.LaunchTimeout = None,
    checkpoints: opt.Checkpoints = None,
    checkpoint_every: opt.CheckpointEvery = None,
    checkpoint_seconds: opt.CheckpointSeconds = None,
    checkpoint_keep: opt.CheckpointKeep = None,
    max_restarts: opt.MaxRestarts = None,
    hang_seconds: opt.HangSeconds = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Train a job once, in one mode."""
    given = opt.to_fields(_spec_arguments(locals()))
    from orchestrator.api import run as run_once
    from orchestrator.report.terminal import print_run
    from orchestrator.spec.resolve import resolve_run

    spec = resolve_run(target, given)
    with _view(quiet, verbose) as view:
        result = run_once(spec, view, resolved=True)
    _finish(result.to_json(), as_json, lambda console: print_run(result, console))


@app.command()
def resume(
    path: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of an unfinished run or comparison.")],
    workers: opt.Workers = None,
    min_workers: opt.MinWorkers = None,
    address: opt.Address = None,
    timeout: opt.Timeout = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Go on from the last checkpoint of a run that ended before it was done."""
    from orchestrator import api
    from orchestrator.report.terminal import print_run
    from orchestrator.results import RunResult

    changes = {"workers": workers, "min_workers": min_workers, "address": address, "timeout": timeout}
    go_on = api.taken_up(path, changes, lambda text: None if quiet else say(text, err=True))
    with _view(quiet, verbose) as view:
        result = go_on(view)
    if isinstance(result, RunResult):
        _finish(result.to_json(), as_json, lambda console: print_run(result, console))
    else:
        _finish_comparison(result, path, as_json)


@app.command()
def plan(
    target: opt.Target,
    mode: opt.Mode = None,
    workers: opt.Workers = None,
    min_workers: opt.MinWorkers = None,
    ps: opt.Ps = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    devices_per_replica: opt.DevicesPerReplica = None,
    cpus_per_task: opt.CpusPerTask = None,
    batch_size: opt.BatchSize = None,
    samples: opt.Samples = None,
    epochs: opt.Epochs = None,
    target_metric: opt.TargetMetric = None,
    set_: opt.Set = None,
    placement: opt.Placement = None,
    worker_label: opt.WorkerLabel = None,
    resources: opt.Resources = None,
    address: opt.Address = None,
    as_json: opt.Json = False,
) -> None:
    """Show the tasks, their hosts, resources and TF_CONFIG. Starts nothing."""
    given = opt.to_fields(_spec_arguments(locals()))
    from orchestrator.api import plan_where
    from orchestrator.cli.tables import print_plan
    from orchestrator.spec.resolve import resolve_run

    document = plan_where(resolve_run(target, given))
    _finish(document, as_json, lambda console: print_plan(document, console))


@app.command()
def jobs(as_json: opt.Json = False) -> None:
    """List the built-in jobs."""
    from orchestrator.cli.tables import print_rows
    from orchestrator.spec.resolve import list_jobs

    listed = list_jobs()
    rows = [(job["name"], job["summary"]) for job in listed]
    _finish(listed, as_json, lambda console: print_rows(rows, console))


@app.command()
def runs(
    root: Annotated[Path, typer.Argument(help="Folder that holds run folders.")] = Path("runs"),
    as_json: opt.Json = False,
) -> None:
    """List finished and unfinished runs and comparisons."""
    from orchestrator.cli.tables import list_runs, print_rows

    listed = list_runs(root)
    rows = [(entry["path"], entry["kind"], entry["outcome"]) for entry in listed]
    _finish(listed, as_json, lambda console: print_rows(rows or [(f"No runs in {root}.",)], console))


@app.command()
def report(
    path: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run or a comparison.")],
    as_json: opt.Json = False,
) -> None:
    """Rebuild the report of a run or comparison from what it stored."""
    from orchestrator.report import show
    from orchestrator.report.stored import UNREADABLE, unreadable

    try:
        document, show_it = show(path)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    _finish(document, as_json, show_it)


@app.command()
def init(path: Annotated[Path, typer.Argument(metavar="FILE.py", help="File to write.")]) -> None:
    """Write a small working job to start from."""
    from orchestrator.cli.scaffold import CLASS_NAME, write_job

    write_job(path)
    say(f"Wrote {path}. Try it:\n\n    regatta compare {path}:{CLASS_NAME}\n")


@app.command()
def doctor(as_json: opt.Json = False) -> None:
    """Check this machine: Python, TensorFlow, Ray, GPUs, memory, cores, ports, token, who listens."""
    from dataclasses import asdict

    from orchestrator.cli.tables import print_rows
    from orchestrator.doctor.checks import diagnose

    checks = diagnose()
    rows = [(check.status, check.name, f"{check.detail} {check.remedy or ''}".strip()) for check in checks]
    _finish([asdict(check) for check in checks], as_json, lambda console: print_rows(rows, console))
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(2)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec file."""
    from orchestrator.spec.comparison import spec_schema

    typer.echo(json.dumps(spec_schema(), indent=2))


watching.register(app)
submit.register(app, run, compare)
kuberay.register(app, run, compare)


def main() -> None:
    """Entry point: errors become one paragraph and an exit code, never a bare traceback."""
    try:
        code = app(prog_name="regatta", standalone_mode=False)
    except RegattaError as error:
        if isinstance(error, JobError) and error.traceback:
            say(error.traceback, err=True)
        say(f"regatta: {paragraph(error.message)}", err=True)
        from orchestrator.cluster.connection import leave

        leave(error.exit_code)
    except OSError as error:  # of a path that nobody looked at before: it is too long, say, or a folder's rights
        if error.filename is None:
            raise
        say(f"regatta: {paragraph(f'{error.filename}: {error.strerror}. Name another one, or change it.')}", err=True)
        sys.exit(2)
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        explained = io.StringIO()  # of the command line's own errors, which repeat what was typed as it is
        error.show(explained)
        say(explained.getvalue(), err=True, nl=False)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _spec_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key not in ("as_json", "quiet", "verbose")}


@contextmanager
def _view(quiet: bool, verbose: bool) -> Iterator[LiveView]:
    """The live view on stderr. Ctrl-C inside of it ends the command with exit code 130, SIGTERM with 0."""
    from orchestrator.control import preemption
    from orchestrator.view.live import LiveView

    preemption.listen()
    try:
        with LiveView(console(stderr=True), quiet=quiet, verbose=verbose) as view:
            yield view
    except KeyboardInterrupt:
        raise Interrupted("interrupted; everything it started is stopped.") from None
    except preemption.Preempted:
        raise WantedBack(
            "told to end (SIGTERM); everything it started is stopped. `regatta resume` and its folder take it up again."
        ) from None


def _finish(document: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """The outcome: one JSON document on stdout, or text for a person."""
    if as_json:
        from orchestrator.store.documents import to_text

        typer.echo(to_text(document))
        return
    show(console())


def _finish_comparison(comparison: Comparison, folder: Path, as_json: bool) -> None:
    from orchestrator.report.terminal import print_comparison

    def show(console: Console) -> None:
        print_comparison(comparison, console)
        console.print(f"\nReport: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)

    _finish(comparison.to_json(), as_json, show)
