"""Reacts to an unstable loss in one run: warn, stop, or roll back once to a snapshot from before it.

Only a loss that does not recover by itself requires a reaction: NaN or infinity, and divergence. A spike is over when
it is reported, and a plateau, an oscillation or overfitting is for the user to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.orders import RollBack
from orchestrator.control.recent_snapshots import RecentSnapshots
from orchestrator.results import Finding
from workers.messages import NOT_FINITE, ROLLBACK, Spent, Start
from workers.news import LegFinished, Stamp

Policy = Literal["ignore", "warn", "stop", "rollback"]

ACTED_ON = ("nan", "divergence")
LEARNING_RATE_FACTOR = 0.5
"""Factor on the learning rate after a rollback."""


def reaction(policy: Policy, finding: Finding, *, rolled_back: bool) -> Policy:
    """What to do about `finding`. A run is rolled back once; if it becomes unstable again, it is stopped."""
    if finding.kind not in ACTED_ON or policy == "ignore":
        return "warn"
    return "stop" if policy == "rollback" and rolled_back else policy


def stop_reason(finding: Finding) -> str:
    """The stop reason that names `finding`: `divergence at step 812`."""
    return finding.kind if finding.step is None else f"{finding.kind} at step {finding.step}"


@dataclass(frozen=True)
class _Ordered:
    stamp: Stamp | None
    """Stamp of the snapshot to roll back to; None for the beginning of the run."""
    snapshot: SnapshotHandle | None


class Rollback:
    """Decides for one run."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._ordered: _Ordered | None = None
        self._rolled_back = False
        self.stopped: str | None = None
        """Stop reason, if an unstable loss stopped the run."""

    def reason(self, finding: Finding) -> str | None:
        """Reason to stop the leg because of `finding`; None if a warning suffices."""
        wanted = reaction(self.policy, finding, rolled_back=self._rolled_back)
        if wanted == "warn":
            return None
        return ROLLBACK if wanted == "rollback" else stop_reason(finding)

    def leg_stopped(self, reason: str, finding: Finding, snapshots: RecentSnapshots[SnapshotHandle]) -> str:
        """The leg is being stopped for `reason`; returns the action taken, for `Finding.action`."""
        if reason != ROLLBACK:
            self.stopped = reason
            return "stopped"
        stamp, snapshot = snapshots.before(finding) or (None, None)
        self._ordered = _Ordered(stamp, snapshot)
        self._rolled_back = True
        return f"rolled back to step {stamp.step if stamp else 0}"

    def leg_ended(
        self, finished: LegFinished, bad_step: int | None, snapshots: RecentSnapshots[SnapshotHandle]
    ) -> None:
        """The leg has ended: if because its weights are lost, order a rollback now, unless that was done.

        `bad_step` is the first one whose loss was not finite.
        """
        lost = Finding(kind="nan", step=bad_step or finished.steps, symptom="the weights are not finite")
        if finished.stopped == NOT_FINITE and self._ordered is None and self.reason(lost) == ROLLBACK:
            self.leg_stopped(ROLLBACK, lost, snapshots)

    def take(self, clock: float, spent: Spent) -> RollBack | None:
        """The ordered rollback, returned once: when the leg has ended or the attempt broke, at the run's `clock`."""
        ordered, self._ordered = self._ordered, None
        if ordered is None:
            return None
        stamp, factor = ordered.stamp, LEARNING_RATE_FACTOR
        step, samples = (stamp.step, stamp.samples) if stamp else (0, 0)
        return RollBack(Start(step, samples, clock, factor, factor, spent=spent), ordered.snapshot)
