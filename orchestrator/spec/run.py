"""The spec of a run: one mode, one seed, frozen and validated before anything is started.

A field is set in YAML by its name, or by its `Flag`; it is defined once, here or in `workers.settings`, help included.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.errors import SpecError
from orchestrator.metric_target import MetricTarget
from orchestrator.spec.batches import share
from orchestrator.spec.conflicts import check_balance, check_devices, check_local, check_stages, check_tasks
from orchestrator.spec.earlier_fits import EarlierFit
from orchestrator.spec.patterns import Pattern
from orchestrator.spec.prices import check_prices
from orchestrator.spec.resources import LabelKey, LabelSelector, Resources
from orchestrator.spec.resources import check as check_resources
from orchestrator.spec.run_id import RUN_ID_WORDS, Project, is_run_id
from orchestrator.spec.secrets import check_names as check_secret_names
from orchestrator.spec.secrets import check_uri
from orchestrator.spec.validation import check_names, validated
from orchestrator.spec.variants import COMPARISON_FIELDS, file_name
from workers.modes.registry import find, stages, traits, values_of
from workers.modes.traits import ModeTraits
from workers.settings import Count, Flag, ReplicaSettings
from workers.stragglers import Profile

Workers = Annotated[int, Field(ge=1, le=1024)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]


class RunSpec(ReplicaSettings):
    """The spec of one run: the settings of its replicas, and those that only the driver uses."""

    workers: Annotated[Workers, Flag("cluster", varies=True)] = 2
    """Worker replicas, in modes that have several."""
    global_batch_size: Annotated[
        Count | None, Flag("training", varies=True, default="--batch-size of each replica")
    ] = None
    """Samples of a step of all workers together, or of an update in modes without common steps."""
    min_workers: Annotated[Workers | None, Flag("faults", default="all of them")] = None
    """Keep training with as few as this many workers if hosts are lost, and grow back at a checkpoint."""
    ps: Annotated[Annotated[int, Field(ge=0, le=256)], Flag("cluster")] = 1
    """Parameter servers, in modes that use them."""
    cpus_per_task: Annotated[Annotated[float, Field(gt=0, le=1024)], Flag("cluster")] = 1.0
    """CPUs reserved for each task."""
    resources: Annotated[
        Resources, Flag("cluster", metavar="TYPE.WHAT=N", style="nested pairs", default="as --cpus-per-task")
    ] = Field(default_factory=dict)
    """Resources reserved for each task of one type, such as ps.cpu=2 or worker.memory_gib=4; may be repeated."""
    placement: Annotated[Literal["pack", "spread", "one-per-host"], Flag("cluster")] = "pack"
    """Hosts of the tasks: as few as possible, as many as possible, or one for each worker."""
    worker_labels: Annotated[
        Mapping[LabelKey, LabelSelector],
        Flag("cluster", "--worker-label", "KEY=VALUE", style="pairs", default="any host"),
    ] = Field(default_factory=dict)
    """Label that hosts of workers must have; may be repeated. The value may be !v, in(v,w) or !in(v,w)."""
    interface: Annotated[
        Annotated[str, Field(pattern=r"^[0-9A-Za-z_.:@/-]{1,64}$")] | None,
        Flag("cluster", default="detected"),
    ] = None
    """Network that connects the tasks, as an interface (eth1) or an address range (10.0.0.0/8)."""
    backend: Annotated[Literal["ray", "local"], Flag("cluster")] = "ray"
    """Where tasks run: on Ray, or in child processes of this command (one machine, no GPUs)."""
    address: Annotated[
        str | None,
        Flag("cluster", default="start Ray here", gives_away="your cluster token"),
    ] = None
    """Ray cluster to attach to: auto, HOST:6379 or ray://HOST:10001."""
    include: Annotated[tuple[Pattern, ...], Flag("cluster", metavar="PATTERN", style="list", default="none")] = ()
    """What beside the job is sent to a cluster besides what git tracks, such as data/*.csv; may be repeated."""
    env_secrets: Annotated[
        tuple[str, ...],
        Flag("cluster", "--env-secret", "NAME", style="list", default="none", gives_away="its value"),
    ] = ()
    """Environment variable that is passed to the tasks and never printed; may be repeated. See docs/security.md."""
    launch_timeout: Annotated[Seconds, Flag("cluster")] = 120.0
    """Seconds within which all tasks must be placed and started."""

    max_restarts: Annotated[Annotated[int, Field(ge=0, le=1000)], Flag("faults")] = 3
    """Restarts of a group, or of one task, after machine failures without progress in between."""
    hang_seconds: Annotated[Seconds, Flag("faults")] = 30.0
    """Seconds without progress after which an idle task counts as hung, unless 5 of its calls take longer."""
    on_instability: Annotated[Literal["ignore", "warn", "stop", "rollback"], Flag("faults")] = "warn"
    """If the loss diverges or the weights become NaN: warn, stop, or roll back once to a good snapshot at half the
    learning rate. A run without finite weights fails, unless this is ignore."""
    checkpoints: Annotated[
        Annotated[str, Field(min_length=1, max_length=4096)] | None,
        Flag("faults", metavar="FOLDER|URI", default="the run's own folder", gives_away="signed requests"),
    ] = None
    """Folder or URI (s3://bucket/folder) under which the run stores its checkpoints."""
    timeout: Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, Flag("faults", default="none")] = None
    """Seconds after which training is stopped."""

    out: Annotated[str | None, Flag("output", metavar="FOLDER", default="runs/RUN_ID")] = None
    """Folder of the run."""
    run_id: Annotated[str | None, Flag("output", default="from job, mode and time")] = None
    """Name of the run."""
    mlflow: Annotated[str | None, Flag("output", metavar="URI", default="none", gives_away="your credentials")] = None
    """MLflow tracking server to log runs to; needs the extra `mlflow`."""
    wandb: Annotated[Project | None, Flag("output", metavar="PROJECT", default="none", gives_away="results")] = None
    """Project of Weights & Biases to log runs to, or ENTITY/PROJECT; needs the extra `wandb`."""
    price: Annotated[Mapping[str, float] | None, Flag("output", metavar="PRICES", style="prices", default="none")] = (
        None
    )
    """Dollars per hour, of resources or of whole task types: cpu=0.04,gpu=2.5, or a YAML file."""
    variant: str | None = None
    """The variant of a comparison that this run belongs to."""
    earlier_fits: tuple[EarlierFit, ...] = ()
    """The script's calls of `fit` before the one that is judged, which are trained first."""

    COMPARE_ONLY: ClassVar[tuple[str, ...]] = COMPARISON_FIELDS

    @model_validator(mode="before")
    @classmethod
    def _has_as_many_workers_as_its_mode(cls, values: Any) -> Any:
        mode = find(str(values.get("mode"))) if isinstance(values, Mapping) else None
        return {**values, "workers": 1, "min_workers": None} if mode is not None and mode.alone else values

    @field_validator("mode")
    @classmethod
    def _mode_exists(cls, value: str) -> str:
        values_of(value)
        return value

    @field_validator("target")
    @classmethod
    def _target_parses(cls, value: str | None) -> str | None:
        return None if value in (None, "none") else str(MetricTarget.parse(value))

    @field_validator("checkpoints", "mlflow")
    @classmethod
    def _uri_holds_no_secret(cls, value: str | None) -> str | None:
        check_uri(value or "")
        return value

    @field_validator("job", "directory", "address", "out", "mlflow", "checkpoints")
    @classmethod
    def _is_text(cls, value: str | None) -> str | None:
        if value is not None and any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise ValueError("it contains control characters, or bytes that are not text")
        return value

    @field_validator("address")
    @classmethod
    def _local_is_no_address(cls, value: str | None) -> str | None:
        return None if value == "local" else value  # Ray's name for a cluster started by the driver

    @field_validator("straggler")
    @classmethod
    def _straggler_parses(cls, value: str) -> str:
        Profile.parse(value)
        return value

    @field_validator("env_secrets")
    @classmethod
    def _secrets_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_secret_names(value)
        return value

    @field_validator("price")
    @classmethod
    def _prices_are_known(cls, value: Mapping[str, float] | None) -> Mapping[str, float] | None:
        return None if value is None else check_prices(value)

    @field_validator("run_id")
    @classmethod
    def _run_id_is_a_file_name(cls, value: str | None) -> str | None:
        if value is not None and not is_run_id(value):
            raise ValueError(RUN_ID_WORDS)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_tasks(self.mode, self.ps, self.workers, self.min_workers)
        if self.balance:
            check_balance(self)
        check_stages(self)
        check_devices(self)
        if self.global_batch_size is not None:
            self.__dict__["batch_size"] = share(self.global_batch_size, self.batches_per_step)  # frozen for all others
        if self.samples is not None and self.epochs is not None:
            raise SpecError("epochs", f"{self.epochs:g} given together with samples {self.samples}: give one of them")
        if self.backend == "local":
            check_local(self.address, self.gpus_per_worker)
        check_resources(self.resources)
        return self

    @property
    def traits(self) -> ModeTraits:
        return traits(self.mode)

    @property
    def stages(self) -> tuple[RunSpec, ...]:
        """The run in each mode that it trains in, in order."""
        return tuple(self.model_copy(update={"mode": stage.mode}) for stage in stages(self.mode))

    @property
    def batches_per_step(self) -> int:
        """Batches that one counted step consumes; the first steps, if the mode changes on the way."""
        return self.stages[0].traits.batches_per_step(self.workers, self.gpus_per_worker / self.devices_per_replica)

    @property
    def samples_per_update(self) -> int:
        """Samples of one counted step, which updates the weights once."""
        return self.batches_per_step * self.batch_size

    @property
    def replica(self) -> ReplicaSettings:
        """The settings that are sent to replicas."""
        fields = {name: getattr(self, name) for name in ReplicaSettings.model_fields}
        return ReplicaSettings.model_construct(**fields)

    @property
    def parsed_target(self) -> MetricTarget | None:
        return None if self.target is None else MetricTarget.parse(self.target)

    @property
    def variant_name(self) -> str:
        """The name under which this run is compared: its variant, or else its mode."""
        return self.variant or self.mode

    @property
    def label(self) -> str:
        """Variant and seed as part of a file name."""
        return f"{file_name(self.variant_name)}-s{self.seed}"

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, for `spec.yaml`."""
        return self.model_dump(mode="json")

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> Self:
        """A validated spec from plain values.

        Raises:
            SpecError: a field is invalid; names the first such field, its value and what is allowed.
        """
        cls.check_names(values)
        return validated(cls, values)

    @classmethod
    def check_names(cls, names: Mapping[str, Any]) -> None:
        """Raises SpecError for a name that is not a field of a run."""
        check_names(names, list(cls.model_fields), cls.COMPARE_ONLY)
