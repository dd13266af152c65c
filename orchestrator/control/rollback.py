"""Carries out what the spec wants done about an unstable loss, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.coordinator import Coordinator
from orchestrator.control.recent_snapshots import LEARNING_RATE_FACTOR, Policy, named, reaction
from orchestrator.control.states import Ended
from orchestrator.results import Finding
from workers.messages import ROLLBACK, Leg, Stamp, Start


@dataclass(frozen=True)
class _Rollback:
    finding: Finding
    ordered: float
    """Monotonic seconds."""
    stamp: Stamp | None
    """Of the snapshot to go back to; None for the beginning."""
    snapshot: SnapshotHandle | None


class Guard:
    """Stops a run, or rolls it back once."""

    def __init__(self, policy: Policy, coordinator: Coordinator, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._coordinator = coordinator
        self._clock = clock
        self._pending: _Rollback | None = None
        self._rolled_back = False
        self.stopped: str | None = None
        """Why the run was stopped, if it was."""

    def react(self, finding: Finding) -> str:
        """Do what is to be done about `finding`; returns it as `finding.action` tells it."""
        wanted = reaction(self._policy, finding, rolled_back=self._rolled_back)
        if wanted == "warn" or not self._coordinator.stop(ROLLBACK if wanted == "rollback" else named(finding)):
            return "warned"
        if wanted == "stop":
            self.stopped = named(finding)
            return "stopped"
        stamp, snapshot = self._coordinator.snapshots.before(finding) or (None, None)
        self._pending = _Rollback(finding, self._clock(), stamp, snapshot)
        self._rolled_back = True
        return f"rolled back to step {stamp.step if stamp else 0}"

    def resumed(self, leg: Leg, ended: Ended) -> tuple[Leg, SnapshotHandle | None] | None:
        """The leg to go on with, and the snapshot it starts from; None when the run is over.

        So it is when a snapshot from before the trouble, scored meanwhile, has reached the target.
        """
        pending, self._pending = self._pending, None
        if pending is None or ended.reached:
            return None
        # The training clock does not stand still while a run is put back.
        clock = max(ended.finished.seconds, (pending.finding.clock or 0.0) + self._clock() - pending.ordered)
        stamp = pending.stamp
        return replace(leg, start=_rolled_back_to(stamp, clock)), pending.snapshot

    def interrupted(self, clock: float) -> tuple[Start, SnapshotHandle | None] | None:
        """Where to go on when the group broke before a rollback that was ordered; None when none was."""
        pending, self._pending = self._pending, None
        return None if pending is None else (_rolled_back_to(pending.stamp, clock), pending.snapshot)


def _rolled_back_to(stamp: Stamp | None, clock: float) -> Start:
    step, samples = (stamp.step, stamp.samples) if stamp else (0, 0)
    return Start(step, samples, clock, LEARNING_RATE_FACTOR, LEARNING_RATE_FACTOR)
