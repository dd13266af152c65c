"""Deadlines of a launch, and of a leg that has to end: its timeout, or a machine that is about to be taken away."""

from __future__ import annotations

from orchestrator.control.orders import Abort, Preempt
from orchestrator.control.states import State, Training
from orchestrator.errors import ClusterError
from workers.messages import TO_BE_RESUMED

STOP_GRACE_SECONDS = 15.0
"""Seconds that a leg may take to end after its timeout, before its group is given up."""
PREEMPTION_GRACE_SECONDS = 25.0
"""Seconds that a leg may take to write its checkpoint and end. Kubernetes and Slurm kill 30 s after the signal."""


class LegDeadlines:
    """The deadlines of one leg, in monotonic seconds."""

    def __init__(self, timeout_at: float | None) -> None:
        self._timeout_at = timeout_at
        self._abort_at: float | None = None
        self._preempt_at: float | None = None

    def check(self, state: State, now: float) -> bool | Abort | Preempt:
        """True once, when the timeout has passed and the leg has to be stopped; an outcome if it does not end in time
        after that."""
        training = state if isinstance(state, Training) else None
        if training and training.stopping in TO_BE_RESUMED:
            self._preempt_at = self._preempt_at or now + PREEMPTION_GRACE_SECONDS
            if now > self._preempt_at:
                return Preempt()
        if self._timeout_at is not None and now > self._timeout_at and self._abort_at is None:
            self._abort_at = now + STOP_GRACE_SECONDS
            return not (training and (training.stopping or training.finished))
        if training and training.finished:
            return False  # it trained in time, and its last snapshots are being scored
        if self._abort_at is not None and now > self._abort_at:
            return Abort(
                ClusterError(
                    f"The timeout passed, and the tasks did not stop within {STOP_GRACE_SECONDS:.0f} s, so they were "
                    "killed. If a single call takes that long, use --steps-per-call 1."
                )
            )
        return False


def not_ready(missing: str) -> ClusterError:
    """The error for a launch whose deadline has passed while `missing` tasks are neither ready nor known to hang."""
    return ClusterError(
        f"Not all tasks were ready in time; missing: {missing}. Their logs show how far they got. A task that computes "
        "needs a larger --launch-timeout; a silent one is on a host that cannot be reached."
    )
