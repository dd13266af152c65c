"""What is to be done about what happened to a worker group. The last ones, the outcomes, end a leg or an attempt."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.states import State
from orchestrator.errors import RegattaError
from workers.messages import RESIZED, Start, Task, TaskFailure
from workers.news import Evaluation, LegFinished, LegStarted, ReplicaStatus, Stamp


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
    """Show the poll to listeners."""

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

    @property
    def resizes(self) -> bool:
        """Whether the leg ended to continue with more workers."""
        return self.reason == RESIZED


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
