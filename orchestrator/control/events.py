"""What can happen to a worker group (events), and what is to be done about it (orders).

Every event goes into `orchestrator.control.machine.Machine.advance`, and every order comes out of it: nothing else
decides. The coordinator turns polls into events and carries out the orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.states import State
from orchestrator.errors import RegattaError
from orchestrator.metric_target import MetricTarget
from orchestrator.results import Finding
from workers.messages import Start, Task, TaskFailure
from workers.news import Evaluation, LegFinished, LegStarted, ReplicaStatus, Stamp

# Events


@dataclass(frozen=True)
class Launched:
    """A group was ordered to start: the first attempt, or another one."""

    tasks: tuple[Task, ...]
    evaluators: tuple[Task, ...]
    replaceable: frozenset[Task] = frozenset()
    """Tasks that training continues without until they are replaced."""
    calls_in_flight: int = 1
    """Calls handed to each independent worker at a time."""


@dataclass(frozen=True)
class RunBegan:
    """The group trains another run: its retry budget is whole, and it was not rolled back yet."""

    run_id: str
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


# Orders


@dataclass(frozen=True)
class Train:
    """Have the trainers train the leg, as number `number` of the group."""

    number: int


@dataclass(frozen=True)
class Score:
    """Hand the leader's snapshot to the evaluator, and tell the machine its handle (`SnapshotHeld`)."""

    stamp: Stamp


@dataclass(frozen=True)
class ScoreAgain:
    """Hand a snapshot to an evaluator that was replaced."""

    stamp: Stamp
    handle: SnapshotHandle


@dataclass(frozen=True)
class TellScore:
    """Tell the leader, which keeps checkpoints, how good one of its snapshots is."""

    evaluation: Evaluation


@dataclass(frozen=True)
class StopLeg:
    """Have the trainers end leg `number` at their next call."""

    reason: str
    number: int = 0


@dataclass(frozen=True)
class ReplaceTask:
    """Start a failed task again, in its old bundle; the others continue meanwhile."""

    task: Task


@dataclass(frozen=True)
class Report:
    """Show the poll, failures that the driver itself noticed included, to listeners."""

    state: State
    statuses: tuple[ReplicaStatus, ...]
    replaced: tuple[TaskFailure, ...] = ()
    """Failures that the group survives, reported for the first time."""


@dataclass(frozen=True)
class Acted:
    """What was done about a finding, as `Finding.action` tells it."""

    action: str


@dataclass(frozen=True)
class Ready:
    """Outcome: every task is ready for a leg."""


@dataclass(frozen=True)
class Ended:
    """Outcome: the leg ended, and all its snapshots are scored."""

    finished: LegFinished
    plan: LegStarted | None
    reached: Evaluation | None
    """The earliest evaluation that met the target."""
    last: Evaluation | None
    """The evaluation of the latest snapshot."""
    stopping: str | None
    """Why the driver ordered the end, if it did."""
    unstable: bool = False
    """The leg was stopped because of an unstable loss."""

    @property
    def reason(self) -> str:
        return "target" if self.reached else self.finished.stopped or "budget"


@dataclass(frozen=True)
class RollBack:
    """Outcome: the leg continues from an earlier snapshot, or from the beginning (None), at a lower learning rate."""

    start: Start
    snapshot: SnapshotHandle | None


@dataclass(frozen=True)
class Relaunch:
    """Outcome: the attempt broke; launch another one after `wait` seconds."""

    cause: TaskFailure
    failures: tuple[TaskFailure, ...]
    wait: float = 0.0
    rollback: RollBack | None = None
    """A rollback that was ordered before the attempt broke."""


@dataclass(frozen=True)
class GiveUp:
    """Outcome: the attempt broke, and another one is not worth it; `reason` says why, for a person."""

    cause: TaskFailure
    failures: tuple[TaskFailure, ...]
    reason: str = ""


@dataclass(frozen=True)
class Abort:
    """Outcome: the run fails with `error`, whatever its tasks do."""

    error: RegattaError


@dataclass(frozen=True)
class Preempt:
    """Outcome: the machine is being taken back, and there is no time to end the leg."""


Outcome = Ready | Ended | RollBack | Relaunch | GiveUp | Abort | Preempt
Order = Train | Score | ScoreAgain | TellScore | StopLeg | ReplaceTask | Report | Acted | Outcome
