"""What crosses the control socket between a supervisor and its task's process, beside `workers.messages`."""

from __future__ import annotations

from dataclasses import dataclass

from workers.messages import Leg
from workers.news import Stamp
from workers.snapshot import Snapshot


@dataclass(frozen=True)
class Train:
    """Command, to trainers: run this leg. Answered by `LegStarted`, `StepBatch`es, ..., `Ready`."""

    leg: Leg
    snapshot: Snapshot | None = None
    """To the leader, where the leg starts from one."""


@dataclass(frozen=True)
class Score:
    """Command, to the evaluator. Answered by an `Evaluation`."""

    stamp: Stamp
    snapshot: Snapshot


@dataclass(frozen=True)
class StopLeg:
    """Command, to trainers: end the leg of that number at its next call; no other one, if it is over already."""

    reason: str
    leg: int


@dataclass(frozen=True)
class ReleaseAddress:
    """Event: TensorFlow is about to bind the port; let go of it. Answered by `AddressReleased`."""


@dataclass(frozen=True)
class AddressReleased:
    """Command: the port is free."""


@dataclass(frozen=True)
class Ready:
    """Event: waiting for a command; sent once everything paid once per group is done, and after each leg."""


@dataclass(frozen=True)
class SnapshotTaken:
    """Event: what the supervisor is to do with a snapshot."""

    stamp: Stamp
    snapshot: Snapshot
    score: bool = True
    """Keep it until the driver asks for it, which has it scored."""
    keep: bool = False
    """Make a checkpoint of it."""


@dataclass(frozen=True)
class Preempted:
    """Event: this process was told to end (SIGTERM), and goes on until it is stopped."""
