"""What a replica reports to a poll: its state, and what happened since the poll before, in order; failures as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from workers.messages import Counts, FitEnded, Printed, Spent, Task, TaskFailure, Waits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]


class ReplicaState(StrEnum):
    """The states of a replica's life, in order."""

    RESERVED = "reserved"  # holds a port; has no process yet
    STARTING = "starting"  # the process imports, builds and compiles
    READY = "ready"  # waits for a leg, a snapshot to score, or (servers) for the chief
    TRAINING = "training"
    FAILED = "failed"  # `ReplicaStatus.failure` says why
    EXITED = "exited"  # the process ended


@dataclass(frozen=True)
class LegStarted:
    """The group is compiled and its state is loaded: training begins."""

    run_id: str
    total_steps: int
    global_batch: int  # samples of one counted step
    eval_every_steps: int
    shares: tuple[int, ...] = ()  # samples of each step by worker, if they differ; else empty
    clock: float = 0.0  # of the run, when the state was loaded, seconds
    learning_rate: float | None = None  # at which the leg begins
    samples_per_epoch: int | None = None  # if they were counted: for a budget in epochs, or for callbacks
    mode: str = ""  # in which it trains
    steps_before: int = 0  # of the run, and their samples: steps of another mode or group had more or fewer
    samples_before: int = 0


@dataclass(frozen=True)
class StepBatch:
    """The steps of one call, as arrays of equal length."""

    run_id: str
    worker: int
    """Worker that took the steps; 0 if all workers took them together."""
    steps: IntArray
    """Numbers of the updates, from 1. Asynchronous ones are numbered as applied: a worker's have gaps."""
    clock: FloatArray
    """The run's clock at the end of each step, seconds; interpolated within the call."""
    losses: FloatArray
    staleness: FloatArray | None
    """Other workers' updates between this step's read of the weights and its own; None in lockstep modes."""
    seconds: float
    logs: Mapping[str, float] = field(default_factory=dict)
    """Means over the call of what `train_step` returned, `loss` included."""
    spent: Spent = field(default_factory=dict)
    learning_rate: float | None = None  # as of at most 0.25 s before


@dataclass(frozen=True)
class CallTiming:
    """How one worker spent its latest calls, 100 ms or more of them. None stands for what cannot be measured."""

    run_id: str
    worker: int
    last_step: int
    steps: int
    """Updates that this worker took part in."""
    clock: float
    """The run's clock at the end, seconds."""
    seconds: float
    """Duration of the calls; in asynchronous modes, as the chief sees it."""
    busy: float | None
    """Seconds that the worker itself spent on the calls."""
    input_wait: float | None
    """Seconds of `busy` without a batch to compute on."""
    communication: float | None
    """Seconds of `busy` in collectives, including waits for slower workers."""
    snapshot: float
    """Seconds that this task spent taking snapshots since its last timing."""


@dataclass(frozen=True)
class Stamp:
    """When a snapshot was taken: by steps, samples and the run's clock."""

    run_id: str
    step: int
    samples: int
    clock: float
    final: bool = False
    training: float | None = None
    """`clock` without callbacks and their validation, seconds."""


@dataclass(frozen=True)
class SnapshotReady:
    """The replica holds a snapshot that can be handed to the evaluator."""

    stamp: Stamp


@dataclass(frozen=True)
class Evaluation:
    """The score of one snapshot."""

    stamp: Stamp
    metrics: Mapping[str, float]
    """`val_loss`, `val_accuracy`, ...: means over the whole evaluation set."""
    seconds: float


@dataclass(frozen=True)
class Deciding:
    """The leader's callbacks, or its wait for the last checkpoint, begin or end. Silence in between is not a hang."""

    run_id: str
    begins: bool


@dataclass(frozen=True)
class CheckpointWritten:
    """A checkpoint is stored."""

    run_id: str
    attempt: int
    step: int
    samples: int
    clock: float
    name: str
    """Name of its folder below the destination."""
    size: int
    """Bytes, manifest included."""
    seconds: float
    """From the snapshot's arrival to the stored checkpoint."""


@dataclass(frozen=True)
class CheckpointFailed:
    """A checkpoint could not be written; training continues."""

    run_id: str
    attempt: int
    step: int
    problem: str
    """One line, with the path and the number of bytes."""
    fenced: bool = False  # a later attempt has taken over the checkpoints, so this one must end


@dataclass(frozen=True)
class LegFinished:
    """The leg ended on every trainer."""

    run_id: str
    steps: int
    samples: int
    seconds: float
    """The run's clock at the end, the last snapshot included."""
    stopped: str | None
    """Why it ended early: `target`, `timeout`, `interrupted`, `callback`; None if it trained on all its samples."""
    optimizer_iterations: int
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds of this leg by phase: `load`, `train`, `snapshot`, `export`."""
    spent: Spent = field(default_factory=dict)
    doubled_updates: int = 0
    """Updates applied twice, because a worker died after applying one and its call ran again."""
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True)
class GpuSample:
    """One reading of a GPU; None stands for what could not be measured."""

    uuid: str
    name: str | None
    utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    process_memory_bytes: int | None
    power_watts: float | None
    temperature_celsius: float | None


@dataclass(frozen=True)
class HostSample:
    """One reading of what a replica uses; None stands for what could not be measured, with the reason in `notes`."""

    time: float
    """Seconds since the epoch, on the replica's host."""
    cpu_percent: float | None
    """CPU use of the replica's process tree; 100 is one core."""
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
class Vitals:
    """A cheap reading of a task's process with every poll, which tells a hung process from a slow one."""

    state: str
    """The kernel's letter: R running, S sleeping, D waiting for a disk, T stopped, Z dead."""
    cpu_seconds: float
    """User and system time of all threads so far."""


News = (
    LegStarted | StepBatch | CallTiming | SnapshotReady | Evaluation | Deciding | CheckpointWritten | CheckpointFailed
    | LegFinished | HostSample | Printed | FitEnded | Waits
)  # fmt: skip


@dataclass(frozen=True)
class ReplicaStatus:
    """A replica's answer to a poll."""

    task: Task
    state: ReplicaState
    news: tuple[News, ...] = ()
    failure: TaskFailure | None = None
    pid: int | None = None
    log: bytes = b""
    preempted: bool = False  # by SIGTERM: its host is being taken back
    vitals: Vitals | None = None
    """None if the kernel does not report them."""
