"""How long a leg may take to end once it is to: because its time is over, or its machine is wanted back."""

from __future__ import annotations

from orchestrator.control import preemption
from orchestrator.control.states import State, Training
from orchestrator.errors import ClusterError
from workers.messages import PREEMPTED

STOP_GRACE_SECONDS = 15.0
"""How long a leg may take to end after its timeout, before its group is given up."""


class Patience:
    """With one leg. Times are monotonic seconds."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._gives_up: float | None = None
        self._saves_until: float | None = None

    def is_over(self, state: State, now: float) -> bool:
        """Whether the leg's time has just run out, and it has to be told; once.

        Raises:
            ClusterError: it was told, and did not end.
            Preempted: it was told to save what it has, and the time for it is over.
        """
        training = state if isinstance(state, Training) else None
        if training and training.stopping == PREEMPTED:
            self._saves_until = self._saves_until or now + preemption.GRACE_SECONDS
            if now > self._saves_until:
                raise preemption.Preempted
        if self._deadline is not None and now > self._deadline and self._gives_up is None:
            self._gives_up = now + STOP_GRACE_SECONDS
            return not (training and (training.stopping or training.finished))
        if training and training.finished:
            return False  # trained in time; its last snapshots are being scored
        if self._gives_up is not None and now > self._gives_up:
            raise ClusterError(
                f"The timeout passed, and the tasks did not stop within {STOP_GRACE_SECONDS:.0f} s of being "
                "asked to; they were ended. A single call that takes longer than that needs --steps-per-call 1."
            )
        return False
