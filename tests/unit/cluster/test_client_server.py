"""The head starts a process for each ray:// client, which may fail where two heads of one host choose the same port."""

from __future__ import annotations

import pytest

from orchestrator.cluster.connection import RayBackend
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit


class Head:
    """Stands in for the module `ray`; the first `failures` connections fail as those of Ray 2.60 do."""

    def __init__(self, failures: int, message: str) -> None:
        self.failures, self.message, self.asked = failures, message, 0

    def init(self, **_: object) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise ConnectionAbortedError(f"Initialization failure from server: RuntimeError: {self.message}")


FAILED = "Starting Ray client server failed. See ray_client_server_23000.err for detailed logs."


@pytest.mark.parametrize(
    ("failures", "message", "asked", "connects"),
    [(0, FAILED, 1, True), (2, FAILED, 3, True), (3, FAILED, 3, False), (1, "Python versions differ", 1, False)],
)
def test_it_is_asked_again(failures: int, message: str, asked: int, connects: bool) -> None:
    head = Head(failures, message)
    backend = RayBackend("session", RunSpec(job="digits", address="ray://127.0.0.1:1"), (), with_code=False)
    try:
        backend._attach(head, {})
    except ConnectionAbortedError:
        assert not connects
    else:
        assert connects
    assert head.asked == asked
