"""Decides whether to retry after a failure, and how soon. Pure.

Machine failures (a process dies, hangs, runs out of memory, loses its peers) may not happen again, so a restart is
worth trying. Errors in code (an exception, a job that does not fit its spec) would happen again. A retry budget limits
restarts; it is refilled when training gets beyond every point from which it was restarted before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workers.messages import FailureKind, TaskFailure

MAX_RESTARTS = 3
MAX_ADDRESS_ATTEMPTS = 3
MACHINES = frozenset({FailureKind.INFRASTRUCTURE, FailureKind.PEER, FailureKind.HUNG, FailureKind.MEMORY})
"""Kinds of failure that a restart may cure, and that count against the retry budget."""


@dataclass(frozen=True)
class RetryBudget:
    """Restarts since the last progress."""

    restarts: int = 0
    address_attempts: int = 0
    """Consecutive attempts that lost a port or in which a task was not ready in time; new ports may help."""
    reached: int = 0
    """The highest step from which a restart can continue."""

    def after_progress(self, step: int) -> RetryBudget:
        """A full budget if `step`, from which training can continue, is beyond `reached`; else this one."""
        return RetryBudget(reached=step) if step > self.reached else self


@dataclass(frozen=True)
class Decision:
    """Whether to retry, and at what cost."""

    budget: RetryBudget
    """The budget left after this decision."""
    again: bool
    wait: float = 0.0
    """Seconds to wait before the retry."""
    reason: str = ""
    """Why there is no retry, in a sentence for the user."""


@dataclass(frozen=True)
class FailurePolicy:
    """Decides from a failure and the retry budget; has no state."""

    max_restarts: int = MAX_RESTARTS
    """Restarts without progress in between."""
    max_address_attempts: int = MAX_ADDRESS_ATTEMPTS
    first_wait: float = 1.0
    """Seconds before the second restart. The first restart does not wait; each later one waits twice as long."""
    longest_wait: float = 60.0

    def decide(self, failure: TaskFailure, budget: RetryBudget) -> Decision:
        """Decide whether to retry after `failure`."""
        if failure.kind in (FailureKind.ADDRESS_TAKEN, FailureKind.LATE):
            tries = budget.address_attempts + 1
            if tries >= self.max_address_attempts:
                return Decision(budget, again=False, reason=f"This was attempt {tries} with new ports.")
            return Decision(replace(budget, address_attempts=tries), again=True)
        if failure.kind not in MACHINES:
            return Decision(budget, again=False)
        if budget.restarts >= self.max_restarts:
            return Decision(budget, again=False, reason=self._exhausted(budget))
        return Decision(
            replace(budget, restarts=budget.restarts + 1, address_attempts=0),
            again=True,
            wait=self._wait(budget.restarts),
        )

    def _wait(self, restarts: int) -> float:
        if restarts == 0:
            return 0.0
        return min(self.longest_wait, self.first_wait * 2.0 ** min(restarts - 1, 64))

    def _exhausted(self, budget: RetryBudget) -> str:
        if self.max_restarts == 0:
            return "Restarts are off (--max-restarts 0)."
        times = "once" if budget.restarts == 1 else f"{budget.restarts} times"
        return (
            f"It was restarted {times} without getting beyond step {budget.reached}, and --max-restarts allows no "
            "more. A failure that repeats is rarely the machine's fault."
        )
