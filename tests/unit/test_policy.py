"""When a broken group is tried again."""

from __future__ import annotations

import pytest

from orchestrator.policy import MAX_ADDRESS_ATTEMPTS, FailurePolicy
from workers.messages import FailureKind, Task, TaskFailure

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("attempt", [1, MAX_ADDRESS_ATTEMPTS - 1, MAX_ADDRESS_ATTEMPTS, 99])
def test_only_a_lost_port_is_tried_again_and_not_for_ever(kind: FailureKind, attempt: int) -> None:
    failure = TaskFailure(Task("worker", 0), kind, "why")
    wanted = kind is FailureKind.ADDRESS_TAKEN and attempt < MAX_ADDRESS_ATTEMPTS
    assert FailurePolicy().retries(failure, attempt) == wanted


def test_one_attempt() -> None:
    failure = TaskFailure(Task("worker", 0), FailureKind.ADDRESS_TAKEN, "why")
    assert not FailurePolicy(max_attempts=1).retries(failure, 1)
