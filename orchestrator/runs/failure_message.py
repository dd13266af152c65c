"""The error shown for a failure that ended a run: what happened, in which task, where its log is, what to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import ClusterError, JobError, RegattaError, SpecError, TaskDiedError
from workers.messages import FailureKind, TaskFailure


def one_line(error: BaseException) -> str:
    """An error as the reason why a run has ended."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]


def explain(cause: TaskFailure, failures: Sequence[TaskFailure], log: Path, reason: str = "") -> RegattaError:
    """The error for `cause`, in one paragraph; `reason` says why there was no further attempt."""
    others = [str(f.task) for f in failures if f.kind is cause.kind and f.summary == cause.summary and f is not cause]
    where = f"{cause.task} (and {', '.join(others)})" if others else str(cause.task)
    tail = "".join(f" {part}" for part in (cause.hint, reason) if part)
    match cause.kind:
        case FailureKind.SPEC:
            return SpecError("job", f"{cause.summary} ({where}; its log: {log})")
        case FailureKind.USER:
            return JobError(f"The job failed in {where}: {cause.summary}. Its log: {log}.{tail}", cause.traceback, log)
        case FailureKind.ADDRESS_TAKEN:
            return ClusterError(
                f"{where} could not bind its port: in every attempt, another process took it after it was reserved. "
                f"Its log: {log}. Look for a program on that host that opens many listening ports."
            )
        case FailureKind.PEER:
            return ClusterError(
                f"{where} lost its peers ({cause.summary}), and none of them reported why. Its log: {log}.{tail}"
            )
        case FailureKind.LATE:
            return ClusterError(
                f"{where}: {cause.summary}. New ports did not help. Its log: {log}.{tail} If the host is slow, "
                "increase --launch-timeout."
            )
        case _:
            return TaskDiedError(f"{where} failed: {cause.summary}. Its log: {log}.{tail}")
