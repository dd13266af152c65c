"""What the driver tells a replica: its task, its part in the worker group, and the legs to train. Frozen dataclasses.

`workers.news` holds what a replica reports back. Neither module imports TensorFlow or Ray, so both sides can use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from workers.settings import ReplicaSettings

ROLLBACK = "rollback"
"""Stop reason of a leg that is repeated from an earlier snapshot: its end state is discarded."""
NOT_FINITE = "nan"
"""Stop reason of a leg whose weights became NaN or infinite."""
PREEMPTED = "preempted"
"""Stop reason of a leg whose host is being taken back: it writes a checkpoint as soon as it can."""
INTERRUPTED = "interrupted"
"""Stop reason of a leg that its user ended with Ctrl-C: it writes a checkpoint, to be resumed from."""
PRUNED = "pruned"
"""Stop reason of a leg of a sweep's trial that is worse than the other trials."""
TO_BE_RESUMED = frozenset({PREEMPTED, INTERRUPTED})
RESIZED = "resized"
"""Stop reason of a leg that continues in a group with more workers, from the checkpoint written at its end."""
SWITCHED = "switched"
"""Stop reason of a leg that continues in a group of another mode, from the checkpoint written at its end."""

SMALL_BATCH_NORM, LARGE_BATCH_NORM = "gradient_square_small", "gradient_square_big"
"""Names under which a step logs square norms of gradients: the mean of the workers' norms, and that of their mean."""


class Task(NamedTuple):
    """One process of a worker group, named as TensorFlow names it: `worker:1`."""

    type: str
    index: int  # type: ignore[assignment]  # TensorFlow's word; hides tuple.index, which is not needed

    def __str__(self) -> str:
        return f"{self.type}:{self.index}"


class FailureKind(StrEnum):
    """Who has to act on a failure. Decides the exit code and whether another attempt makes sense."""

    USER = "user"  # the job's own code raised
    SPEC = "spec"  # the job and the spec do not fit together: unknown metric, uncompiled model, empty data
    ADDRESS_TAKEN = "address_taken"  # another process bound the reserved port before TensorFlow's server did
    PEER = "peer"  # another task of the group went away
    INFRASTRUCTURE = "infrastructure"  # this process died
    MEMORY = "out_of_memory"  # this process was killed because its host ran out of memory
    HUNG = "hung"  # no progress for too long; reported by the driver, which ends the process
    LATE = "late"  # never became ready; reported by the driver


@dataclass(frozen=True)
class TaskFailure:
    """Why a task failed."""

    task: Task
    kind: FailureKind
    summary: str
    """One line: the exception's type and message, or how the process ended."""
    traceback: str = ""
    """The job's own frames first; empty when there was no Python exception."""
    hint: str = ""
    """What to try, if known."""


@dataclass(frozen=True)
class Waits:
    """News of a task that is not ready although its deadline is near: where its main thread is."""

    task: Task
    where: str
    """One line: the job's own line if it is in the job's code, and the innermost function."""


@dataclass(frozen=True)
class Printed:
    """News: lines that the leader's script has printed."""

    text: str


@dataclass(frozen=True)
class FitEnded:
    """News: what the training of a script's earlier `fit` leaves behind; sent by its leader."""

    content: bytes
    """As `workers.training.ended_fit` packs and reads it."""


@dataclass(frozen=True)
class Assignment:
    """What a task is told when it starts. Valid for every leg trained in the group."""

    task: Task
    settings: ReplicaSettings
    tf_config: Mapping[str, Any]
    cpus: float = 1.0
    gpus: float = 0.0
    target_metric: str | None = None
    ready_within: float | None = None
    """Seconds that the task has from its start until it is ready; None if nothing waits."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables of the task. Their values are masked in its log and failures."""
    earlier_fits: tuple[bytes, ...] = field(default=(), repr=False)
    """What the earlier fits of a script have left behind, the `content` of each `FitEnded`."""


class Taken(NamedTuple):
    """Batches of the canonical stream that a group of workers trained on."""

    workers: int
    taken: tuple[int, ...]
    """Batches that each worker took of its own shard."""


CALLBACKS, VALIDATION, CHECKPOINT, RECOVERY = "callbacks", "validation", "checkpoint", "recovery"
Spent = Mapping[str, float]
"""Seconds of a run's clock that were no training steps, by part: `callbacks`, `validation` for callbacks, `checkpoint`
(taking them; they are written meanwhile) and `recovery` (from the last step before a fault or a rollback until the
state to continue from is loaded)."""

Position = tuple[Taken, ...]
"""What a run has trained on so far: one entry for each stretch with the same number of workers. An entry counts within
what the entries before it left over."""


@dataclass(frozen=True)
class Start:
    """Where a leg continues from. The snapshot itself goes to the leader only."""

    step: int
    samples: int
    clock: float
    """The run's clock in seconds when the leg is handed out; includes the time of work that was lost."""
    learning_rate_scale: float = 1.0
    """Factor on the snapshot's learning rate; without a snapshot, on the leg's."""
    schedule_scale: float = 1.0
    """Factor on the learning-rate schedule that the snapshot was trained with, which no variable holds."""
    position: Position = ()
    """Where every task starts to read its data."""
    spent: Spent = field(default_factory=dict)
    """What of `clock` was no training step."""


@dataclass(frozen=True)
class Checkpointing:
    """Where a leg's checkpoints go, and how the best one is chosen. `ReplicaSettings` says when they are due."""

    destination: str
    """The run's own folder: a local path, or a URI that `pyarrow.fs` understands."""
    workers: int
    metric: str = "val_loss"
    """Metric by which the best checkpoint is chosen."""
    maximize: bool = False


@dataclass(frozen=True)
class Leg:
    """One uninterrupted stretch of a run's training in one launched group."""

    run_id: str
    settings: ReplicaSettings
    directory: str | None = None
    """The run's folder on the driver's host. Relative paths that callbacks write to are below it."""
    number: int = 0
    """Number of the leg in its group. A stop request that arrives between two legs must not end the wrong one."""
    attempt: int = 1
    """Number of the attempt within this run, from 1; the fencing token of its checkpoints."""
    start: Start | None = None
    """None for step 0 with the seed's initial weights."""
    checkpoints: Checkpointing | None = None
    """None if checkpoints are switched off."""
    until: float = 1.0
    """The share of the run's samples at which the leg ends; below 1, to be continued in another mode."""
    stops_if_not_finite: bool = True
    """End the leg if its weights are NaN or infinite."""


@dataclass(frozen=True)
class Counts:
    """What a run counted besides its steps, since it began."""

    updates: int | None = None
    """How often the weights that all workers share were changed; None if that is not known."""
    dropped_gradients: int = 0
    """Gradients computed but in no update."""
    local_steps: int | None = None
    """Steps that workers took on weights of their own, all workers together; None if they never have such."""
