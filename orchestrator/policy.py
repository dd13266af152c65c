"""What to do about a broken group: try again, or give up."""

from __future__ import annotations

from dataclasses import dataclass

from workers.messages import FailureKind, TaskFailure

MAX_ADDRESS_ATTEMPTS = 3


@dataclass(frozen=True)
class FailurePolicy:
    """Only a lost port is worth a new attempt so far: new ports cure it, and nothing was trained yet."""

    max_attempts: int = MAX_ADDRESS_ATTEMPTS

    def retries(self, failure: TaskFailure, attempt: int) -> bool:
        """Whether attempt number `attempt` (from 1) is to be followed by another."""
        return failure.kind is FailureKind.ADDRESS_TAKEN and attempt < self.max_attempts
