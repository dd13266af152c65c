"""Commands and events on the control socket between a supervisor and its task's process.

Commands go to the process, events come from it. Besides these, the socket carries the `Assignment`, `TaskFailure`s and
the messages of `workers.news`.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.messages import Leg
from workers.news import Stamp
from workers.snapshot import Snapshot


@dataclass(frozen=True)
class Train:
    """Command to trainers: run this leg. Answered by `LegStarted`, `StepBatch`es, ..., `Ready`."""

    leg: Leg
    snapshot: Snapshot | None = None
    """For the leader only, if the leg starts from a snapshot."""


@dataclass(frozen=True)
class Score:
    """Command to the evaluator: evaluate this snapshot. Answered by an `Evaluation`."""

    stamp: Stamp
    snapshot: Snapshot


@dataclass(frozen=True)
class StopLeg:
    """Command to trainers: end leg number `leg` at its next call. Ignored if that leg has ended already."""

    reason: str
    leg: int


@dataclass(frozen=True)
class ReleaseAddress:
    """Event: TensorFlow is about to bind the reserved port. Answered by `AddressReleased`."""


@dataclass(frozen=True)
class AddressReleased:
    """Command: the reserved port is free now."""


@dataclass(frozen=True)
class Ready:
    """Event: the process waits for a command. Sent after the group's one-time preparation, and after each leg."""


@dataclass(frozen=True)
class SnapshotTaken:
    """Event: a snapshot for the supervisor to score, to keep, or both."""

    stamp: Stamp
    snapshot: Snapshot
    score: bool = True
    """Hold it until the driver fetches it and has it scored."""
    keep: bool = False
    """Write it as a checkpoint."""


@dataclass(frozen=True)
class Preempted:
    """Event: this process received SIGTERM. It continues to train until it is stopped."""
