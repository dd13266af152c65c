"""The flags that `run`, `compare` and `plan` share: each is a field of the spec."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.errors import SpecError, UsageError
from orchestrator.spec.files import base_of
from orchestrator.spec.prices import parse_prices
from orchestrator.spec.resources import parse_resources

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="A built-in job, spec.yaml, path/file.py:Class or module:Class.")
]
Mode = Annotated[str | None, typer.Option(help="sync or async.")]
Modes = Annotated[str | None, typer.Option(help="Modes to compare, the baseline first: sync,async.")]
Workers = Annotated[int | None, typer.Option(help="Worker replicas.")]
MinWorkers = Annotated[int | None, typer.Option(help="Go on with so few when hosts are lost; else all are needed.")]
Ps = Annotated[int | None, typer.Option("--ps", help="Parameter servers (async).")]
GpusPerWorker = Annotated[int | None, typer.Option(help="GPUs of each worker.")]
DevicesPerReplica = Annotated[int | None, typer.Option(help="Devices that the model spreads over by itself.")]
CpusPerTask = Annotated[float | None, typer.Option(help="CPUs reserved for each task.")]
BatchSize = Annotated[int | None, typer.Option(help="Samples per batch and replica.")]
Samples = Annotated[int | None, typer.Option(help="Budget in training samples.")]
Epochs = Annotated[float | None, typer.Option(help="Budget in passes over the data, instead of --samples.")]
TargetMetric = Annotated[
    str | None, typer.Option("--target", help='End when an evaluation meets this: "val_accuracy>=0.95".')
]
EvalEvery = Annotated[int | None, typer.Option(help="Samples between evaluations.")]
Seed = Annotated[int | None, typer.Option(help="Seed of initial weights and data order.")]
Seeds = Annotated[str | None, typer.Option(help="Number of seeds per mode, or a list: 0,1,2.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A param of the job; may be repeated.")
]
StepsPerCall = Annotated[int | None, typer.Option(help="Fused steps per call; automatic when not given.")]
Sharding = Annotated[str | None, typer.Option(help="How workers split the data: auto, data, file or off.")]
Cache = Annotated[bool | None, typer.Option(help="Keep the data in memory after the first epoch, in its order.")]
Prefetch = Annotated[bool | None, typer.Option(help="Prepare batches ahead of the step that needs them; on.")]
MixedPrecision = Annotated[bool | None, typer.Option(help="Compute in 16 bits, keep weights in 32.")]
Jit = Annotated[bool | None, typer.Option(help="Compile with XLA.")]
Placement = Annotated[str | None, typer.Option(help="Hosts of the tasks: pack, spread or one-per-host.")]
WorkerLabel = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label a worker's host must have; may be repeated.")
]
Resources = Annotated[
    list[str] | None, typer.Option(metavar="TYPE.WHAT=N", help="Of tasks of one type: ps.cpu=2; may be repeated.")
]
Interface = Annotated[str | None, typer.Option(help="Network between the tasks: eth1, or 10.0.0.0/8.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to attach to; starts one here when not given.")]
Out = Annotated[str | None, typer.Option(help="Folder for the results; runs/<run_id> when not given.")]
RunId = Annotated[str | None, typer.Option(help="Name of the run.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds after which training is stopped.")]
LaunchTimeout = Annotated[float | None, typer.Option(help="Seconds that starting all tasks may take.")]
Checkpoints = Annotated[str | None, typer.Option(help="Folder or URI (s3://...) for checkpoints; the run's own.")]
CheckpointEvery = Annotated[int | None, typer.Option(help="Samples between checkpoints.")]
CheckpointSeconds = Annotated[float | None, typer.Option(help="Seconds between checkpoints; 30, 0 for none.")]
CheckpointKeep = Annotated[int | None, typer.Option(help="The last so many checkpoints stay, and the best; 3.")]
MaxRestarts = Annotated[int | None, typer.Option(help="Restarts after failures of machines; 3.")]
HangSeconds = Annotated[float | None, typer.Option(help="Silence after which a task is taken for hung; 30.")]
EnvSecret = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Variable here that tasks get and nobody is told; may be repeated."),
]
Vary = Annotated[
    list[str] | None,
    typer.Option("--vary", metavar="FIELD=A,B", help="Compare values of a field, or of params.x; may be repeated."),
]
Margin = Annotated[float | None, typer.Option(help="Accuracies closer than this are equal; 0.005.")]
TuneLr = Annotated[bool | None, typer.Option("--tune-lr", help="First find each variant's learning rate.")]
LearningRate = Annotated[float | None, typer.Option(help="Instead of the job's own.")]
Balance = Annotated[
    bool | None,
    typer.Option("--balance", help="Sync: more samples of each step for faster workers; compare: one variant more."),
]
GradientNoise = Annotated[
    bool | None, typer.Option("--gradient-noise", help="Sync: estimate the batch size beyond which samples are wasted.")
]
Straggler = Annotated[str | None, typer.Option(help="Slow workers: persistent:worker=1,factor=4; see docs.")]
OnInstability = Annotated[
    str | None, typer.Option(help="When the loss is NaN or diverges: warn, stop or rollback (once, half the rate).")
]
Monitor = Annotated[bool | None, typer.Option(help="Sample hosts and GPUs, time calls, watch the loss; on.")]
SampleSeconds = Annotated[float | None, typer.Option(help="Seconds between samples of hosts and GPUs; 1.")]
Mlflow = Annotated[str | None, typer.Option(help="MLflow tracking URI to log every run to.")]
Price = Annotated[str | None, typer.Option(help="Dollars per hour: cpu=0.04,gpu=2.5, or a YAML file.")]
WorkerCounts = Annotated[str | None, typer.Option("--workers", help="Worker replicas; 1,2,4 compares.")]
BatchSizes = Annotated[str | None, typer.Option("--batch-size", help="Samples per batch and replica; 32,64 compares.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; text goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also evaluations, findings and task states.")]


_NOT_FIELDS = (
    "target", "target_metric", "set_", "seeds", "modes", "vary", "price", "worker_label", "resources", "env_secret",
)  # fmt: skip


def to_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """A command's arguments as fields of the spec; what was not given is None."""
    fields = {name: value for name, value in given.items() if name not in _NOT_FIELDS}
    fields["target"] = given.get("target_metric")
    if given.get("set_"):
        fields["params"] = parse_settings(given["set_"])
    if given.get("seeds") is not None:
        fields["seeds"] = parse_seeds(given["seeds"])
    if given.get("modes") is not None:
        fields["modes"] = tuple(name.strip() for name in given["modes"].split(","))
    if given.get("worker_label"):
        fields["worker_labels"] = parse_settings(given["worker_label"], "--worker-label")
    if given.get("env_secret"):
        fields["env_secrets"] = tuple(given["env_secret"])
    if given.get("resources"):
        fields["resources"] = parse_resources(parse_settings(given["resources"], "--resources"))
    if given.get("price") is not None:
        fields["price"] = parse_prices(given["price"])
    vary = {name: values.split(",") for name, values in parse_settings(given.get("vary") or (), "--vary").items()}
    for name in ("workers", "batch_size"):  # `compare` takes lists of these two directly
        if isinstance(fields.get(name), str):
            values = fields.pop(name).split(",")
            if len(values) == 1:
                fields[name] = values[0]
            else:
                vary[name] = values
    if vary:
        fields["vary"] = vary
    return fields


def parse_settings(settings: Sequence[str], flag: str = "--set") -> dict[str, str]:
    """`["hidden=64"]` to `{"hidden": "64"}`; types are the job's to give."""
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag}: {setting!r} is not allowed: write it as name=value, for example hidden=64")
        pairs[name.strip()] = value
    return pairs


def parse_seeds(text: str) -> int | tuple[int, ...]:
    """`5` is a number of seeds; `5,` and `0,1,2` are seeds."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SpecError("seeds", f"{text!r} is not allowed: give a number of seeds (5) or a list (0,1,2)") from None
    if not numbers or min(numbers) < 0 or ("," not in text and numbers[0] < 1):
        raise SpecError("seeds", f"{text!r} is not allowed: give at least one seed, none negative")
    return tuple(numbers) if "," in text else numbers[0]


if TYPE_CHECKING:
    from orchestrator.spec.comparison import CompareSpec
    from orchestrator.spec.run import RunSpec

AsRun = Annotated[bool, typer.Option("--run", help="One run in one mode; so it is if --mode is given.")]
AsComparison = Annotated[bool, typer.Option("--compare", help="A comparison; so it is if no --mode is given.")]
_NOT_OF_THE_JOB = ("address", "out", "as_json", "quiet", "verbose")


def spec_of(given: Mapping[str, Any], as_run: bool, as_comparison: bool) -> tuple[str, RunSpec | CompareSpec]:
    """`run` or `compare`, and the validated spec."""
    from orchestrator.spec.resolve import resolve_comparison, resolve_run

    if as_run and as_comparison:
        raise UsageError("--run and --compare were given together: give one of them.")
    command = "run" if as_run or (given.get("mode") is not None and not as_comparison) else "compare"
    # Not the dashboard's: where the job will attach, from the inside.
    fields = to_fields(given) | {"address": "auto"}
    resolve: Callable[..., RunSpec | CompareSpec] = resolve_run if command == "run" else resolve_comparison
    return command, resolve(given["target"], fields)


def with_flags_of(command: Callable[..., None], *others: Callable[..., None]) -> Callable[..., None]:
    """`command` with the flags of `others` in place of its `**given`, for typer to see."""
    flags: dict[str, inspect.Parameter] = {}
    for source in (command, *others):
        hints = typing.get_type_hints(source, include_extras=True)
        for name, parameter in inspect.signature(source).parameters.items():
            foreign = source is not command and name in _NOT_OF_THE_JOB
            if not foreign and parameter.kind is not parameter.VAR_KEYWORD:
                named = parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
                flags.setdefault(name, named)
    command.__signature__ = inspect.Signature(list(flags.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in flags.items()}
    return command


def name_of(command: str, spec: RunSpec | CompareSpec) -> str:
    """The run id that was given, or a new one."""
    from orchestrator.store.directory import new_id

    base = base_of(spec)
    return base.run_id or new_id(f"{Path(base.job.partition(':')[0]).stem}-{command}")
