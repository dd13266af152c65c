"""Orders of the machine to the coordinator. Those marked as outcomes end a leg or an attempt."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.states import State
from orchestrator.errors import RegattaError
from workers.messages import NOT_FINITE, RESIZED, SWITCHED, Start, Task, TaskFailure
from workers.news import Evaluation, LegFinished, LegStarted, ReplicaStatus, Stamp


@dataclass(frozen=True)
class Train:
    """Start the leg in the trainers, as leg `number` of the group."""

    number: int


@dataclass(frozen=True)
class Score:
    """Send the leader's snapshot to the evaluator, and report its handle to the machine (`SnapshotSent`)."""

    stamp: Stamp


@dataclass(frozen=True)
class ScoreAgain:
    """Send a snapshot to an evaluator that was replaced."""

    stamp: Stamp
    handle: SnapshotHandle


@dataclass(frozen=True)
class ReportScore:
    """Report the score of a snapshot to the leader, which keeps the best checkpoint."""

    evaluation: Evaluation


@dataclass(frozen=True)
class StopLeg:
    """Have the trainers end leg `number` before their next call."""

    reason: str
    number: int = 0


@dataclass(frozen=True)
class ReplaceTask:
    """Start a failed task again in its bundle, while the others continue."""

    task: Task


@dataclass(frozen=True)
class Report:
    """Pass the poll to the listener."""

    state: State
    statuses: tuple[ReplicaStatus, ...]
    replaced: tuple[TaskFailure, ...] = ()
    """Failures that the group survives and that were not reported before."""


@dataclass(frozen=True)
class ActionTaken:
    """The action taken on a finding, for `Finding.action`."""

    action: str


@dataclass(frozen=True)
class Ready:
    """Outcome: every task is ready for a leg."""


@dataclass(frozen=True)
class Ended:
    """Outcome: the leg has ended, and all its snapshots are scored."""

    finished: LegFinished
    plan: LegStarted | None
    reached: Evaluation | None
    """The earliest evaluation that met the target."""
    last: Evaluation | None
    """The evaluation of the latest snapshot."""
    stopping: str | None
    """The driver's reason for stopping the leg; None if it ended by itself."""
    unstable: bool = False
    """The leg was stopped because of an unstable loss."""

    @property
    def reason(self) -> str:
        """Why the run ended. One that spent its budget says so, even if it reached its target before."""
        stopped = self.finished.stopped
        if stopped is None or stopped == NOT_FINITE:
            return stopped or "budget"
        return "target" if self.reached else stopped

    @property
    def switches(self) -> bool:
        """Whether the leg ended to continue in another mode."""
        return self.finished.stopped == SWITCHED

    @property
    def is_over(self) -> bool:
        """Whether the run ends nevertheless: its target was met, or it was to stop, when the leg had no call left."""
        return self.reached is not None or self.stopping not in (None, RESIZED)

    @property
    def resizes(self) -> bool:
        """Whether the leg ended to continue with more workers."""
        return self.reason == RESIZED


@dataclass(frozen=True)
class RollBack:
    """Outcome: the run continues from an earlier snapshot, or from step 0 (None), at a lower learning rate."""

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
    """Outcome: the attempt broke, and is not retried; `reason` says why, in a sentence for the user."""

    cause: TaskFailure
    failures: tuple[TaskFailure, ...]
    reason: str = ""


@dataclass(frozen=True)
class Abort:
    """Outcome: the run fails with `error`."""

    error: RegattaError


@dataclass(frozen=True)
class Preempt:
    """Outcome: the machine is about to be taken away, and there is no time to end the leg."""


Outcome = Ready | Ended | RollBack | Relaunch | GiveUp | Abort | Preempt
Order = Train | Score | ScoreAgain | ReportScore | StopLeg | ReplaceTask | Report | ActionTaken | Outcome
