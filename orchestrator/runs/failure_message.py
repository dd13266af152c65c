"""What is said about a failure that ended a run: what happened, in which task, where its log is, what to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import ClusterError, JobError, RegattaError, SpecError, TaskDiedError
from workers.messages import FailureKind, TaskFailure


def explain(cause: TaskFailure, failures: Sequence[TaskFailure], log: Path, reason: str = "") -> RegattaError:
    """One paragraph on a failure; `reason` says why it was not tried again, or not any more."""
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
                f"{where} could not bind its port: another process took it between reserving and starting, in every "
                f"attempt. Its log: {log}. Look for a program that opens many listening ports on that host."
            )
        case FailureKind.PEER:
            return ClusterError(
                f"{where} lost its peers ({cause.summary}), and none of them said why. Log: {log}.{tail}"
            )
        case FailureKind.LATE:
            return ClusterError(
                f"{where}: {cause.summary}. New ports did not help. Its log: {log}.{tail} A host that is slow to start "
                "needs a larger --launch-timeout."
            )
        case _:
            return TaskDiedError(f"{where} failed: {cause.summary}. Its log: {log}.{tail}")
