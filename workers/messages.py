"""What crosses the wire between the driver and a replica: frozen dataclasses, and nothing else.

Statuses are data, never exceptions: a replica that fails says so in `TaskFailure`, and the driver decides.
This module imports neither TensorFlow nor Ray, so both sides can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]


class Task(NamedTuple):
    """One process of a worker group, named as TensorFlow names it: `worker:1`."""

    type: str
    index: int  # type: ignore[assignment]  # TensorFlow's word; hides tuple.index, which nothing needs

    def __str__(self) -> str:
        return f"{self.type}:{self.index}"


class ReplicaState(StrEnum):
    """The life of a replica, in order."""

    RESERVED = "reserved"  # an address is held, no process yet
    STARTING = "starting"  # the process imports, builds and compiles
    READY = "ready"  # waits for a leg, a snapshot to score, or (servers) for the chief
    TRAINING = "training"
    FAILED = "failed"  # it said why, in `ReplicaStatus.failure`
    EXITED = "exited"  # the process is gone


class FailureKind(StrEnum):
    """Who has to act on a failure; decides the exit code and whether a new attempt makes sense."""

    USER = "user"  # the job's own code raised
    SPEC = "spec"  # the job and the spec do not fit: unknown metric, uncompiled model, empty data
    ADDRESS_TAKEN = "address_taken"  # the reserved port was lost before TensorFlow's server bound it
    PEER = "peer"  # another task of the group went away
    INFRASTRUCTURE = "infrastructure"  # this process died
    MEMORY = "out_of_memory"  # this process was killed for want of memory
    HUNG = "hung"  # no progress for too long; the driver says so, and ends it
    LATE = "late"  # it never became ready; the driver says so


@dataclass(frozen=True)
class TaskFailure:
    task: Task
    kind: FailureKind
    summary: str
    """One line: the exception's type and message, or how the process ended."""
    traceback: str = ""
    """The frames of the job's own code first; empty when no Python exception was seen."""
    hint: str = ""
    """What to try, where it is known."""


@dataclass(frozen=True)
class JobSource:
    """How a replica finds the job class. On a cluster a job's own files are staged first, and lie on every host."""

    target: str
    """`digits`, `path/file.py:Class` or `module:Class`, as the user wrote it."""
    directory: str = ""
    """Folder of a `file.py` job, or the driver's working directory: searched for the job's imports."""


@dataclass(frozen=True)
class Assignment:
    """Everything one task must know to take its place in a group; the same for all legs trained in it."""

    task: Task
    mode: str
    tf_config: Mapping[str, Any]
    job: JobSource
    params: Mapping[str, Any]
    batch_size: int
    seed: int
    """Seed of the first model built; every leg brings its own."""
    cpus: float = 1.0
    gpus: float = 0.0
    sharding: str = "auto"
    cache: bool = False
    prefetch: bool = True
    jit: bool = False
    devices_per_replica: int = 1
    """Devices that a model spreads its layers over by itself."""
    dtype_policy: str = "float32"
    """Keras' policy for layers that have none of their own: the same in every task of the group."""
    target_metric: str | None = None
    balance: bool = False
    """Sync: shares of each step by measured speed (`workers.modes.balance`)."""
    gradient_noise: bool = False
    """Sync: log what the gradient noise scale is made of (`orchestrator.monitor.noise_scale`)."""
    straggler: str = "none"
    """Profile of slow workers (`workers.stragglers`)."""
    sample_seconds: float = 1.0
    """Between two looks at what the replica and its host use; 0 for none."""
    timings: bool = True
    """Whether to measure where each call's time goes."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables whose values are masked in all that is told of the task."""


SMALL_BATCH_NORM, LARGE_BATCH_NORM = "gradient_square_small", "gradient_square_big"
"""Names under which a step logs square norms of gradients: the mean over workers, and that of the workers' mean."""

OUTSTANDING_CALLS = 2
"""Async: handed out to each worker at a time: one that runs, and one that waits, so that no worker idles for a round
trip to the chief."""

ROLLBACK = "rollback"
"""Why a leg is stopped that another one takes up again: its end is worth nothing."""
PREEMPTED = "preempted"
"""Why a leg is stopped whose machine is wanted back: what counts is a checkpoint, soon."""
RESIZED = "resized"
"""Why a leg is stopped that goes on in a group with more workers, from the checkpoint at its end."""


class Dealt(NamedTuple):
    """Batches of a stream that so many workers took between them."""

    workers: int
    taken: tuple[int, ...]
    """By each worker, of its own share."""


Position = tuple[Dealt, ...]
"""What was taken of a run's stream of batches. After a change of the number of workers, the next entry deals out
what the one before left over."""


@dataclass(frozen=True)
class Start:
    """Where a leg goes on from, when not from the beginning."""

    step: int
    samples: int
    clock: float
    """The training clock when the leg is handed out: what was trained in vain has taken time as well."""
    learning_rate_scale: float = 1.0
    """On top of what the snapshot, or the leg, has."""
    schedule_scale: float = 1.0
    """What the snapshot was trained with, where the optimizer follows a schedule: no variable holds it."""
    position: Position = ()
    """Where the data go on; every task opens its own there."""


@dataclass(frozen=True)
class Checkpointing:
    """Where a leg's checkpoints go, and when they are due."""

    destination: str
    """A local path or a URI that `pyarrow.fs` knows: this run's own folder."""
    job: str
    mode: str
    workers: int
    batch_size: int
    every: int | None = None
    """Samples between two of them."""
    seconds: float | None = 30.0
    """Of wall time between two of them."""
    keep: int = 3
    """The latest so many stay, and the best."""
    metric: str = "val_loss"
    """What tells the best one."""
    maximize: bool = False


@dataclass(frozen=True)
class Leg:
    """One run inside a launched group: a seed, a budget, and optionally where to start from."""

    run_id: str
    seed: int
    samples: int | None
    epochs: float | None
    eval_every: int | None
    """Samples between snapshots; None for a twentieth of the budget."""
    steps_per_call: int | None
    """Fused steps per call; None to grow until a call takes about 100 ms."""
    learning_rate: float | None = None
    """Instead of the one the job's optimizer was made with."""
    learning_rate_scale: float = 1.0
    directory: str | None = None
    """The run's folder on the driver's host: what callbacks write under relative names goes there."""
    number: int = 0
    """Of this leg among those of its group: a stop that comes between two legs must not hit the wrong one."""
    attempt: int = 1
    """Life of the worker group within this run, from 1: what a later attempt wrote, an earlier one must not touch."""
    start: Start | None = None
    """None for step 0 with the seed's initial weights. The snapshot itself goes to the leader alone, in `Train`;
    at step 0 there is none."""
    checkpoints: Checkpointing | None = None
    """None for none. `attempt` is their fencing token, checked at every write."""


@dataclass(frozen=True)
class StepBatch:
    """The steps of one call, as arrays of equal length."""

    run_id: str
    worker: int
    """Which worker took the steps; 0 for sync, where all take them together."""
    steps: IntArray
    """Number of each update in the run, from 1. Async: as applied, so gaps and interleaving are real."""
    clock: FloatArray
    """Training clock at the end of each step, seconds; interpolated within the call."""
    losses: FloatArray
    staleness: FloatArray | None
    """Updates that others applied between this step's read of the weights and its own; None for sync."""
    seconds: float
    """Wall time of the call."""
    logs: Mapping[str, float] = field(default_factory=dict)
    """Mean over the call of what `train_step` returned, `loss` included."""


@dataclass(frozen=True)
class CallTiming:
    """Where one worker's time went in its latest calls, 100 ms or more of them. Null is what cannot be seen."""

    run_id: str
    worker: int
    last_step: int
    steps: int
    """Updates that this worker took part in."""
    clock: float
    """Training clock at the end."""
    seconds: float
    """Of the calls; async: as the chief sees it."""
    busy: float | None
    """Seconds the worker itself spent on them."""
    input_wait: float | None
    """Of these, with nothing to compute because the next batch was not there."""
    communication: float | None
    """Of these, in collectives, waiting for slower workers included."""
    snapshot: float
    """Seconds that this task spent taking snapshots since its last timing."""


@dataclass(frozen=True)
class Stamp:
    """When a snapshot was taken, in every unit a comparison is made in."""

    run_id: str
    step: int
    samples: int
    clock: float
    final: bool = False


@dataclass(frozen=True)
class Evaluation:
    stamp: Stamp
    metrics: Mapping[str, float]
    """`val_loss`, `val_accuracy`, ...: means over the whole evaluation set."""
    seconds: float


@dataclass(frozen=True)
class LegStarted:
    """The group is compiled, loaded and at the line: the training clock is at 0."""

    run_id: str
    total_steps: int
    global_batch: int
    """Samples per counted step: batch x replicas in sync, batch in async."""
    eval_every_steps: int
    shares: tuple[int, ...] = ()
    """Samples of each step by worker, where they differ."""


@dataclass(frozen=True)
class LegFinished:
    run_id: str
    steps: int
    samples: int
    seconds: float
    """Training clock at the last step."""
    stopped: str | None
    """Why it ended before its budget: `target`, `timeout`, `interrupted`, `callback`; None when it did not."""
    optimizer_iterations: int
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase: `build`, `compile`, `load`, `train`, `snapshot`."""
    doubled_updates: int = 0
    """Async: updates applied more often than scheduled, because a worker died after applying one."""


@dataclass(frozen=True)
class HostSample:
    """One look at what a replica uses; null is "could not be measured", with the reason in `notes`."""

    time: float
    """Seconds since the epoch, on the replica's host."""
    cpu_percent: float | None
    """Of the replica's process tree; 100 is one core."""
    rss_bytes: int | None
    host_cpu_percent: float | None
    host_memory_percent: float | None
    net_sent_per_s: float | None
    net_received_per_s: float | None
    disk_read_per_s: float | None
    disk_written_per_s: float | None
    gpus: tuple[GpuSample, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpuSample:
    uuid: str
    name: str | None
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    process_memory_bytes: int | None
    power_watts: float | None
    temperature_celsius: float | None


@dataclass(frozen=True)
class CheckpointWritten:
    run_id: str
    attempt: int
    step: int
    samples: int
    clock: float
    name: str
    """Of its folder, below the destination."""
    size: int
    """Bytes, the manifest included."""
    seconds: float
    """From the snapshot's arrival to the checkpoint being safe."""


@dataclass(frozen=True)
class CheckpointFailed:
    run_id: str
    attempt: int
    step: int
    problem: str
    """One line with the path and the bytes."""
    fenced: bool = False
    """Whether a later attempt has taken over, so that this one must end."""


@dataclass(frozen=True)
class Deciding:
    """The leader's callbacks begin to decide, or are done: silence in between is the user's code, not a hang."""

    run_id: str
    begins: bool


@dataclass(frozen=True)
class Vitals:
    """One look at a task's process, free enough for every poll: tells what hangs from what is slow."""

    state: str
    """The kernel's letter: R running, S sleeping, D waiting for a disk, T stopped, Z dead."""
    cpu_seconds: float
    """User and system time so far, of all its threads."""


@dataclass(frozen=True)
class ReplicaStatus:
    """A replica's answer to `poll`: its state now, and everything that happened since the poll before."""

    task: Task
    state: ReplicaState
    pid: int | None = None
    leg_started: tuple[LegStarted, ...] = ()
    batches: tuple[StepBatch, ...] = ()
    snapshots: tuple[Stamp, ...] = ()
    """Snapshots held by this replica, ready to be handed to the evaluator."""
    evaluations: tuple[Evaluation, ...] = ()
    leg_finished: tuple[LegFinished, ...] = ()
    samples: tuple[HostSample, ...] = ()
    failure: TaskFailure | None = None
    log: bytes = b""
    """New bytes of the task's log."""
    timings: tuple[CallTiming, ...] = ()
    deciding: tuple[Deciding, ...] = ()
    checkpoints: tuple[CheckpointWritten | CheckpointFailed, ...] = ()
    preempted: bool = False
    """Whether this task was told to end: its machine is wanted back."""
    vitals: Vitals | None = None
    """Null where the kernel does not tell."""
