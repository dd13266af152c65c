"""How long a leg may take to end once it was told to: its time is over, or its machine is being taken back."""

from __future__ import annotations

from orchestrator.control.orders import Abort, Preempt
from orchestrator.control.states import State, Training
from orchestrator.errors import ClusterError
from workers.messages import PREEMPTED

STOP_GRACE_SECONDS = 15.0
"""How long a leg may take to end after its timeout, before its group is given up."""
PREEMPTION_GRACE_SECONDS = 25.0
"""How long a leg may take to write its checkpoint and end. Kubernetes and Slurm kill 30 s after the signal."""


class LegDeadlines:
    """One leg's. Times are monotonic seconds."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._gives_up: float | None = None
        self._saves_until: float | None = None

    def check(self, state: State, now: float) -> bool | Abort | Preempt:
        """True once, when the leg's time has just run out and it has to be told; an outcome when it was told, and did
        not end in time."""
        training = state if isinstance(state, Training) else None
        if training and training.stopping == PREEMPTED:
            self._saves_until = self._saves_until or now + PREEMPTION_GRACE_SECONDS
            if now > self._saves_until:
                return Preempt()
        if self._deadline is not None and now > self._deadline and self._gives_up is None:
            self._gives_up = now + STOP_GRACE_SECONDS
            return not (training and (training.stopping or training.finished))
        if training and training.finished:
            return False  # trained in time; its last snapshots are being scored
        if self._gives_up is not None and now > self._gives_up:
            return Abort(
                ClusterError(
                    f"The timeout passed, and the tasks did not stop within {STOP_GRACE_SECONDS:.0f} s of being "
                    "asked to; they were ended. A single call that takes longer than that needs --steps-per-call 1."
                )
            )
        return False
