"""What can happen to a worker group.

Every event goes into `orchestrator.control.machine.Machine.advance`, and every order (`orchestrator.control.orders`)
comes out of it: nothing else decides. The coordinator turns polls into events and carries out the orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.recent_snapshots import Policy
from orchestrator.metric_target import MetricTarget
from orchestrator.results import Finding
from workers.messages import Task, TaskFailure
from workers.news import ReplicaStatus, Stamp


@dataclass(frozen=True)
class Launched:
    """A group was ordered to start: the first attempt, or another one."""

    tasks: tuple[Task, ...]
    evaluators: tuple[Task, ...]
    replaceable: frozenset[Task] = frozenset()
    """Tasks that training continues without until they are replaced; each takes calls of its own."""
    calls_in_flight: int = 1
    """Calls handed to each replaceable task at a time."""


@dataclass(frozen=True)
class RunBegan:
    """The group trains another run: its retry budget is whole, and it was not rolled back yet."""

    run_id: str
    on_instability: Policy = "warn"
    deadline: float | None = None
    """Monotonic seconds at which training is stopped."""
    clock: float | None = None
    """Training clock of a run that is resumed, in seconds."""


@dataclass(frozen=True)
class ReadyAwaited:
    """From now on every task has to report that it is ready, before `deadline` (monotonic seconds)."""

    deadline: float


@dataclass(frozen=True)
class LegOrdered:
    """A leg is to be trained."""

    run_id: str
    target: MetricTarget | None = None
    deadline: float | None = None
    """Monotonic seconds at which the leg is stopped."""
    lost: frozenset[Stamp] = frozenset()
    """Snapshots still to be scored that were lost with their leader."""


@dataclass(frozen=True)
class Polled:
    """What all tasks reported."""

    statuses: Sequence[ReplicaStatus]
    sigterm: bool = False
    """The driver itself received SIGTERM."""


@dataclass(frozen=True)
class SnapshotHeld:
    """A snapshot is on its way to the evaluator."""

    stamp: Stamp
    handle: SnapshotHandle


@dataclass(frozen=True)
class StopWanted:
    """The leg is to end: there are hosts for more workers, say."""

    reason: str


@dataclass(frozen=True)
class FindingMade:
    """The monitor found something about the loss."""

    finding: Finding


@dataclass(frozen=True)
class Moved:
    """A task has another bundle, its host being lost."""

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
    | SnapshotHeld
    | StopWanted
    | FindingMade
    | Moved
    | LaunchFailed
)
