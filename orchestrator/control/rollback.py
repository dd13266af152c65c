"""What is done about an unstable loss, in one run: warn, stop, or roll back once to a snapshot from before it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.orders import RollBack
from orchestrator.control.recent_snapshots import LEARNING_RATE_FACTOR, Policy, RecentSnapshots, named, reaction
from orchestrator.results import Finding
from workers.messages import ROLLBACK, Start
from workers.news import LegFinished, Stamp


@dataclass(frozen=True)
class _Ordered:
    finding: Finding
    at: float
    """Monotonic seconds."""
    stamp: Stamp | None
    """Of the snapshot to go back to; None for the beginning."""
    snapshot: SnapshotHandle | None


class Rollback:
    """Decides for one run."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._ordered: _Ordered | None = None
        self._rolled_back = False
        self.stopped: str | None = None
        """Stop reason, if an unstable loss stopped the run."""

    def wanted(self, finding: Finding) -> str | None:
        """Reason to stop the leg because of `finding`; None if it is only a warning."""
        reaction_ = reaction(self.policy, finding, rolled_back=self._rolled_back)
        if reaction_ == "warn":
            return None
        return ROLLBACK if reaction_ == "rollback" else named(finding)

    def stops(self, reason: str, finding: Finding, snapshots: RecentSnapshots[SnapshotHandle], now: float) -> str:
        """The leg is being stopped for `reason`, which `wanted` gave; returns what was done, for people."""
        if reason != ROLLBACK:
            self.stopped = reason
            return "stopped"
        stamp, snapshot = snapshots.before(finding) or (None, None)
        self._ordered = _Ordered(finding, now, stamp, snapshot)
        self._rolled_back = True
        return f"rolled back to step {stamp.step if stamp else 0}"

    def due(self, finished: LegFinished | None, now: float) -> RollBack | None:
        """The rollback that was ordered, at the leg's end, or when the attempt broke before (None); given once.

        The training clock does not stand still while a run is put back.
        """
        ordered, self._ordered = self._ordered, None
        if ordered is None:
            return None
        clock = (ordered.finding.clock or 0.0) + now - ordered.at
        if finished is not None:
            clock = max(finished.seconds, clock)
        stamp = ordered.stamp
        step, samples = (stamp.step, stamp.samples) if stamp else (0, 0)
        return RollBack(Start(step, samples, clock, LEARNING_RATE_FACTOR, LEARNING_RATE_FACTOR), ordered.snapshot)
