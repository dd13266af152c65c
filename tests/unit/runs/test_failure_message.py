"""The error message for a failure that ended a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ClusterError, JobError, RegattaError, SpecError, TaskDiedError
from orchestrator.runs.failure_message import explain
from workers.messages import FailureKind, Task, TaskFailure

pytestmark = pytest.mark.unit

LOG = Path("runs/x/logs/worker-1.log")
ERRORS: dict[FailureKind, type[RegattaError]] = {
    FailureKind.SPEC: SpecError,
    FailureKind.USER: JobError,
    FailureKind.ADDRESS_TAKEN: ClusterError,
    FailureKind.PEER: ClusterError,
    FailureKind.LATE: ClusterError,
    FailureKind.INFRASTRUCTURE: TaskDiedError,
    FailureKind.HUNG: TaskDiedError,
    FailureKind.MEMORY: TaskDiedError,
}


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_is_one_paragraph_with_the_task_and_its_log(kind: FailureKind) -> None:
    cause = TaskFailure(Task("worker", 1), kind, "it broke", hint="Try this.")
    error = explain(cause, [cause], LOG, "That is why.")
    assert type(error) is ERRORS[kind]
    assert "worker:1" in error.message
    assert str(LOG) in error.message
    assert "\n" not in error.message
    if kind in (FailureKind.INFRASTRUCTURE, FailureKind.HUNG, FailureKind.MEMORY, FailureKind.LATE):
        assert "it broke" in error.message
        assert "Try this. That is why." in error.message


def test_tasks_with_the_same_failure_are_named_together() -> None:
    first, second = (TaskFailure(Task("worker", index), FailureKind.HUNG, "it waits") for index in (0, 1))
    other = TaskFailure(Task("ps", 0), FailureKind.PEER, "gone")
    assert "worker:0 (and worker:1) failed" in explain(first, [first, second, other], LOG).message
