"""What to do about a failure: try again, how soon, and when to give up. Pure.

What machines do (a process that dies, hangs, runs out of memory, loses its peers) may not happen again, so it is
worth a restart. What code does (an exception, a job and a spec that do not fit, a NaN) happens again. A retry budget
keeps the first kind finite: it is refilled when training gets beyond every point that it was restarted from before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workers.messages import FailureKind, TaskFailure

MAX_RESTARTS = 3
MAX_ADDRESS_ATTEMPTS = 3
MACHINES = frozenset({FailureKind.INFRASTRUCTURE, FailureKind.PEER, FailureKind.HUNG, FailureKind.MEMORY})
"""Kinds of failure that a restart may cure, and that are charged."""


@dataclass(frozen=True)
class RetryBudget:
    """Restarts since the last progress."""

    restarts: int = 0
    address_attempts: int = 0
    """Attempts in a row that lost a port, or waited for a task in vain; they need nothing but new ports."""
    reached: int = 0
    """The furthest step that a restart continued from."""

    def after_progress(self, step: int) -> RetryBudget:
        """Refilled, if `step`, which training can continue from, lies beyond those before."""
        return RetryBudget(reached=step) if step > self.reached else self


@dataclass(frozen=True)
class Decision:
    budget: RetryBudget
    """What is left of it when the decision is carried out."""
    again: bool
    wait: float = 0.0
    """Seconds to wait first."""
    reason: str = ""
    """Why it is not tried again, for a person."""


@dataclass(frozen=True)
class FailurePolicy:
    """Decides from a failure and what was spent so far; holds no state."""

    max_restarts: int = MAX_RESTARTS
    """Without progress in between."""
    max_address_attempts: int = MAX_ADDRESS_ATTEMPTS
    first_wait: float = 1.0
    """Seconds before the second restart; the first comes at once, every further one waits twice as long."""
    longest_wait: float = 60.0

    def decide(self, failure: TaskFailure, budget: RetryBudget) -> Decision:
        """Whether a failure is worth another attempt."""
        if failure.kind in (FailureKind.ADDRESS_TAKEN, FailureKind.LATE):
            tries = budget.address_attempts + 1
            if tries >= self.max_address_attempts:
                return Decision(budget, again=False, reason=f"that was attempt {tries} with new ports.")
            return Decision(replace(budget, address_attempts=tries), again=True)
        if failure.kind not in MACHINES:
            return Decision(budget, again=False)
        if budget.restarts >= self.max_restarts:
            return Decision(budget, again=False, reason=self._spent(budget))
        return Decision(
            replace(budget, restarts=budget.restarts + 1, address_attempts=0),
            again=True,
            wait=self._wait(budget.restarts),
        )

    def _wait(self, restarts: int) -> float:
        if restarts == 0:
            return 0.0
        return min(self.longest_wait, self.first_wait * 2.0 ** min(restarts - 1, 64))

    def _spent(self, budget: RetryBudget) -> str:
        if self.max_restarts == 0:
            return "Restarts are off (--max-restarts 0)."
        times = "once" if budget.restarts == 1 else f"{budget.restarts} times"
        return (
            f"It was restarted {times} without getting beyond step {budget.reached}, which is all that --max-restarts "
            "allows: what fails every time is seldom the machine's fault."
        )
