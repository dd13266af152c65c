"""Events of a worker group.

The coordinator passes each event to `orchestrator.control.machine.Machine.advance`, which returns the orders
(`orchestrator.control.orders`) that the coordinator carries out. Decisions are made nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.rollback import Policy
from orchestrator.metric_target import MetricTarget
from orchestrator.results import Finding
from workers.messages import Spent, Task, TaskFailure
from workers.news import ReplicaStatus, Stamp


@dataclass(frozen=True)
class Launched:
    """A worker group is being started, for the first or for another attempt."""

    tasks: tuple[Task, ...]
    evaluators: tuple[Task, ...]
    replaceable: frozenset[Task] = frozenset()
    """Tasks without which training continues until they are replaced; each runs calls of its own."""
    calls_in_flight: int = 1
    """Calls scheduled on each replaceable task at a time."""
    bounded: bool = False
    """A replaceable task that is too far ahead waits for the slowest."""


@dataclass(frozen=True)
class RunBegan:
    """The group trains another run, which has its full retry budget and has not been rolled back."""

    run_id: str
    on_instability: Policy = "warn"
    deadline: float | None = None
    """Monotonic seconds at which training is stopped."""
    clock: float | None = None
    """Clock of a resumed run, in seconds."""
    spent: Spent | None = None
    """What of it was no training step."""


@dataclass(frozen=True)
class ReadyAwaited:
    """Every task has to report that it is ready before `deadline` (monotonic seconds)."""

    deadline: float


@dataclass(frozen=True)
class LegOrdered:
    """A leg is to be trained."""

    run_id: str
    target: MetricTarget | None = None
    deadline: float | None = None
    """Monotonic seconds at which the leg is stopped."""
    lost: frozenset[Stamp] = frozenset()
    """Unscored snapshots that were lost with their leader."""


@dataclass(frozen=True)
class Polled:
    """All tasks were polled."""

    statuses: Sequence[ReplicaStatus]
    stop: str | None = None
    """The reason to stop, INTERRUPTED or PREEMPTED, if the driver itself received a signal."""


@dataclass(frozen=True)
class SnapshotSent:
    """A snapshot was sent to the evaluator."""

    stamp: Stamp
    handle: SnapshotHandle


@dataclass(frozen=True)
class StopRequested:
    """The leg is to end, for example because there are hosts for more workers."""

    reason: str


@dataclass(frozen=True)
class FindingMade:
    """The monitor found a problem with the loss."""

    finding: Finding


@dataclass(frozen=True)
class TaskMoved:
    """A task was moved to another bundle, because its host was lost."""

    task: Task


@dataclass(frozen=True)
class LaunchFailed:
    """Another attempt could not be launched."""

    failure: TaskFailure


Event = (
    Launched
    | RunBegan
    | ReadyAwaited
    | LegOrdered
    | Polled
    | SnapshotSent
    | StopRequested
    | FindingMade
    | TaskMoved
    | LaunchFailed
)
