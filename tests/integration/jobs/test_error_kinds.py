"""TensorFlow's kinds of errors, as they really arrive from the job's own code: the user's, and never the machine's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.jobs_under_test.error_kind_names import NATIVE, TENSORFLOW, WORDS
from tests.integration.local_runs import Broken, train
from tests.marked import slow
from workers.messages import FailureKind, TaskFailure

LIKE_A_PEERS = ("Aborted", "Cancelled", "DeadlineExceeded", "Internal", "OutOfRange", "Unavailable")
"""Those that a lost worker raises as well, and the end of data."""
FAST = [("sync", "step", "Unavailable")]
FAST_NATIVE = ("sync", "FailedPrecondition")
CASES = [
    *(("sync", "data", kind) for kind in TENSORFLOW),
    *(("async", "step", kind) for kind in TENSORFLOW),
    *(("sync", "step", kind) for kind in LIKE_A_PEERS),
    *(("async", "data", kind) for kind in LIKE_A_PEERS),
    *(("sync", "callback", kind) for kind in LIKE_A_PEERS[:3]),
    *(("async", "callback", kind) for kind in LIKE_A_PEERS[3:]),
    *((mode, "data", kind) for mode in ("sync", "async") for kind in ("TypeError", "StopIteration", "MemoryError")),
]


def failure(mode: str, **params: Any) -> TaskFailure:
    # So many that both workers come to the batch, though one may be 100 ms behind the other in its first step.
    fields: dict[str, Any] = {"workers": 2, "batch_size": 16, "samples": 16 * 4000, "params": params}
    with pytest.raises(Broken) as broken:
        train("error_kinds.py:ErrorKinds", mode=mode, **fields)
    return broken.value.cause


@pytest.mark.parametrize(("mode", "where", "kind"), [*FAST, *(slow(*case) for case in CASES if case not in FAST)])
def test_what_the_jobs_python_code_raises_is_the_users(mode: str, where: str, kind: str) -> None:
    cause = failure(mode, where=where, kind=kind)
    assert cause.kind is FailureKind.USER
    assert WORDS in cause.summary


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (mode, kind) if (mode, kind) == FAST_NATIVE else slow(mode, kind)
        for mode in ("sync", "async")
        for kind in NATIVE
    ],
)
def test_what_an_operation_of_tensorflow_raises_is_the_users(mode: str, kind: str) -> None:
    cause = failure(mode, where="operation", kind=kind)
    assert cause.kind is FailureKind.USER
    assert cause.summary.startswith(f"{kind}Error: ")
