"""The spec: the frozen, validated description of one run, and of a comparison.

Every field can be given in YAML under its name and on the command line as a flag. Messages name the field, the
value and what is allowed; nothing is started before a spec is valid.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestrator.errors import SpecError
from orchestrator.metric_target import Target
from orchestrator.spec.resources import LabelKey, LabelSelector, Resources
from orchestrator.spec.resources import check as check_resources
from orchestrator.spec.secrets import check_names
from orchestrator.spec.variants import file_name
from workers.stragglers import Profile

_Model = TypeVar("_Model", bound=BaseModel)
ModeName = Literal["sync", "async"]
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

RUN_ID_WORDS = "letters, digits, '.', '_' and '-' only, starting with a letter or digit, up to 100"

Count = Annotated[int, Field(ge=1, lt=2**53)]
"""Samples or steps; JSON readers hold no larger number exactly."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class RunSpec(BaseModel):
    """One run: one mode, one seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Annotated[str, Field(min_length=1, max_length=4096)]
    """A built-in job's name, `path/file.py:Class` or `module:Class`."""
    directory: str = "."
    """Folder that job paths and modules are found from."""
    params: Mapping[str, Any] = Field(default_factory=dict)
    """The job's own settings."""
    mode: ModeName = "sync"
    workers: Annotated[int, Field(ge=1, le=1024)] = 2
    min_workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """With how few workers the run goes on when hosts are lost; it grows back at a checkpoint. All, when not given."""
    ps: Annotated[int, Field(ge=0, le=256)] = 1
    """Parameter servers; async only."""
    gpus_per_worker: Annotated[int, Field(ge=0, le=64)] = 0
    devices_per_replica: Annotated[int, Field(ge=1, le=64)] = 1
    """Devices that the job's model spreads its layers over by itself. More than one make a worker one replica;
    without GPUs they are logical CPUs."""
    cpus_per_task: Annotated[float, Field(gt=0, le=1024)] = 1.0
    batch_size: Count = 32
    """Samples per batch and replica."""
    samples: Count | None = None
    """Budget in training samples: comparable between modes."""
    epochs: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Budget in passes over the training data, instead of `samples`."""
    target: str | None = None
    """End the run when an evaluation meets this: `val_accuracy>=0.95`."""
    eval_every: Count | None = None
    """Samples between evaluations; a twentieth of the budget when not given."""
    seed: Seed = 0
    steps_per_call: Count | None = None
    """Fused steps per call; grown until a call takes about 100 ms when not given."""
    sharding: Literal["auto", "data", "file", "off"] = "auto"
    """`auto`: each worker gets its share of the batches, unless the job splits the data itself; `data`: of the
    batches in any case; `file`: of the input files; `off`: every worker gets everything."""
    cache: bool = False
    """Keep an epoch's training batches, in the order of the first epoch, and the evaluation data in memory."""
    prefetch: bool = True
    """Prepare the next batches while a step is computed (`tf.data.AUTOTUNE`)."""
    mixed_precision: bool = False
    """Compute in 16 bits, keep weights in 32: float16 where workers have GPUs, else bfloat16."""
    jit: bool = False
    """Compile clusters of operations with XLA."""
    resources: Resources = Field(default_factory=dict)
    """What tasks of one type ask for instead: `{ps: {cpu: 2, memory_gib: 4}}`."""
    placement: Literal["pack", "spread", "one-per-host"] = "pack"
    """Few hosts, many hosts, or a host for each worker of a group."""
    worker_labels: Mapping[LabelKey, LabelSelector] = Field(default_factory=dict)
    """Labels that a worker's host must have: `{accelerator: a100}`; also `!v`, `in(v,w)`, `!in(v,w)`."""
    interface: Annotated[str, Field(pattern=r"^[0-9A-Za-z_.:@/-]{1,64}$")] | None = None
    """Network between tasks, as an interface (`eth1`) or a range (`10.0.0.0/8`); found out when not given."""
    address: str | None = None
    """A Ray cluster to attach to (`auto`, `host:6379`, `ray://host:10001`); Ray starts itself without one."""
    out: str | None = None
    """Folder of this run; `runs/<run_id>` when not given."""
    run_id: str | None = None
    timeout: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Seconds after which a run is stopped."""
    launch_timeout: Annotated[float, Field(gt=0, le=1e6)] = 120.0
    """Seconds that placing and starting all tasks may take."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """How often a group, or a task that the others can do without, is started anew after a failure of a machine
    before training gets further."""
    hang_seconds: Annotated[float, Field(gt=0, le=1e6)] = 30.0
    """Silence after which a task that does nothing is taken for hung, if 5 of its calls take less."""
    checkpoints: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Folder or URI (`s3://bucket/folder`) below which the run's checkpoints go; its own folder when not given."""
    checkpoint_every: Count | None = None
    """Samples between checkpoints; also, or instead of, by time."""
    checkpoint_seconds: Annotated[float, Field(ge=0, le=1e6)] = 30.0
    """Between checkpoints; 0 for none by time, and none at all without `checkpoint_every`."""
    checkpoint_keep: Annotated[int, Field(ge=1, le=1000)] = 3
    """The last so many checkpoints stay, and the best one."""

    learning_rate: Annotated[float, Field(gt=0, lt=1e6)] | None = None
    """Instead of the one the job's optimizer was made with."""
    learning_rate_scale: Annotated[float, Field(gt=0, lt=1e6)] = 1.0
    """Multiplies the learning rate; `--tune-lr` finds it."""
    balance: bool = False
    """Sync: faster workers get more of each step's samples, by a measurement at the start; the step is the same."""
    gradient_noise: bool = False
    """Sync, with several equal workers: estimate the gradient noise scale, the batch size beyond which samples are
    wasted."""
    straggler: str = "none"
    """Slow workers as an experimental condition: see docs/comparison.md."""
    on_instability: Literal["warn", "stop", "rollback"] = "warn"
    """When the loss is NaN or diverges: say so, end the run, or go back once to the last good snapshot at half the
    learning rate."""
    monitor: bool = True
    """Watch the run: what hosts and GPUs do, where each call's time goes, whether the loss is stable."""
    sample_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    """Between two looks at a replica, its host and its GPUs."""
    mlflow: str | None = None
    """MLflow tracking server (URI) that every run is logged to; needs the extra `mlflow`."""
    env_secrets: tuple[str, ...] = ()
    """Environment variables whose values the tasks are given, and that are told nowhere: see docs/security.md."""
    price: Mapping[str, float] | None = None
    """Dollars per hour of `cpu`, `gpu`, or of a whole task type; no price, no cost."""
    variant: str | None = None
    """The variant of a comparison that this run is one of."""

    COMPARE_ONLY: ClassVar[tuple[str, ...]] = ("modes", "vary", "variants", "seeds", "margin", "tune_lr")

    @field_validator("target")
    @classmethod
    def _target_parses(cls, value: str | None) -> str | None:
        return None if value is None else str(Target.parse(value))

    @field_validator("checkpoints")
    @classmethod
    def _checkpoints_hold_no_secret(cls, value: str | None) -> str | None:
        scheme, mark, rest = (value or "").partition("://")
        if mark and "@" in rest.partition("/")[0] and scheme not in ("abfs", "abfss"):
            raise ValueError("credentials belong into the environment (AWS_ACCESS_KEY_ID, ...), not into the URI")
        return value

    @field_validator("job", "directory", "address", "out", "mlflow", "checkpoints")
    @classmethod
    def _is_text(cls, value: str | None) -> str | None:
        if value is not None and any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise ValueError("it holds control characters, or bytes that are not text")
        return value

    @field_validator("address")
    @classmethod
    def _here_is_no_address(cls, value: str | None) -> str | None:
        return None if value == "local" else value  # Ray's word for what no address means

    @field_validator("straggler")
    @classmethod
    def _straggler_parses(cls, value: str) -> str:
        Profile.parse(value)
        return value

    @field_validator("env_secrets")
    @classmethod
    def _secrets_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_names(value)
        return value

    @field_validator("price")
    @classmethod
    def _prices_are_known(cls, value: Mapping[str, float] | None) -> Mapping[str, float] | None:
        from orchestrator.spec.prices import check_prices

        return None if value is None else check_prices(value)

    @field_validator("run_id")
    @classmethod
    def _run_id_is_a_file_name(cls, value: str | None) -> str | None:
        if value is not None and not is_run_id(value):
            raise ValueError(RUN_ID_WORDS)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "async" and self.ps == 0:
            raise SpecError("ps", "0 does not work with mode async, which keeps its weights on ps: give 1 or more")
        if self.min_workers is not None and self.min_workers > self.workers:
            raise SpecError("min_workers", f"{self.min_workers} is more than workers, which is {self.workers}")
        if self.devices_per_replica > 1 and self.gpus_per_worker not in (0, self.devices_per_replica):
            raise SpecError(
                "gpus_per_worker",
                f"{self.gpus_per_worker} does not work with a model on {self.devices_per_replica} devices: "
                f"give {self.devices_per_replica}, or 0 for CPUs",
            )
        if self.balance:
            self._can_be_balanced()
        if self.samples is not None and self.epochs is not None:
            raise SpecError("epochs", f"{self.epochs:g} given together with samples {self.samples}: give one of them")
        check_resources(self.resources)
        return self

    def _can_be_balanced(self) -> None:
        if self.mode == "async":
            raise SpecError("balance", "is for mode sync: in async, fast workers take more batches by themselves")
        if self.gpus_per_worker:
            raise SpecError("balance", "does not work with GPUs, whose step cannot be timed from outside: leave it out")
        if self.sharding in ("file", "off"):
            raise SpecError("balance", f"does not work with sharding {self.sharding}: it cuts batches of one stream")

    @property
    def parsed_target(self) -> Target | None:
        return None if self.target is None else Target.parse(self.target)

    @property
    def variant_name(self) -> str:
        """What this run is compared as: its variant, or its mode."""
        return self.variant or self.mode

    @property
    def label(self) -> str:
        return f"{file_name(self.variant_name)}-s{self.seed}"

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, for `spec.yaml`."""
        return self.model_dump(mode="json")


def make_run_spec(values: Mapping[str, Any]) -> RunSpec:
    """A validated spec from plain values.

    Raises:
        SpecError: names the first field that is wrong, its value and what is allowed.
    """
    check_field_names(values)
    return validated(RunSpec, values)


def is_run_id(text: str) -> bool:
    """Whether it is one, and so can be a folder's name and a word for a shell."""
    return _RUN_ID.fullmatch(text) is not None


def check_field_names(names: Iterable[str]) -> None:
    """Refuse misspelt fields; also before a job's code runs, which may take seconds."""
    known = [*RunSpec.model_fields, *RunSpec.COMPARE_ONLY]
    for name in names:
        if name in RunSpec.COMPARE_ONLY:
            raise SpecError(name, "belongs to a comparison: use `regatta compare`, or remove it")
        if name not in known:
            raise SpecError(name, f"there is no such field{_nearest(name, known)}. Fields: {', '.join(known)}")


def validated(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "spec"
        if first["type"] == "extra_forbidden":
            raise SpecError(field, "there is no such field") from None
        allowed = first["msg"].removeprefix("Value error, ").replace("tuple", "list").replace("Tuple", "List")
        raise SpecError(field, f"{shown(first['input'])} is not allowed: {allowed}") from None


def _nearest(word: str, words: list[str]) -> str:
    close = get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shown(value: object) -> str:
    """A value as a message names it, cut to one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; a list in a list in a list
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
