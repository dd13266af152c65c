"""How soon a lost head is noticed, in simulated time: before 15 s, also if connecting to it takes as long as it may."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cluster import connection
from orchestrator.errors import HostLostError
from orchestrator.runs import managed_group
from orchestrator.runs.managed_group import ManagedGroup, lost_session
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit


class Session:
    """Answers until second `lost`; after that a question takes `seconds`."""

    def __init__(self, lost: float, seconds: float) -> None:
        self.now, self._lost, self._seconds = 0.0, lost, seconds
        self._back = 1e9
        self.asked = 0

    def silent_for(self, seconds: float) -> None:
        self._back = self._lost + seconds

    def check(self) -> None:
        self.asked += 1
        if self._lost <= self.now < self._back:
            self.now += self._seconds
            raise lost_session("Ray's head does not answer")


def watch(group: ManagedGroup, session: Session) -> None:
    while session.now < 100:
        group.watch_backend()
        session.now += 0.1


@pytest.mark.parametrize(("seconds", "within"), [(0.0, 8.2), (connection._HEAD_SECONDS, 15.0)])
@pytest.mark.parametrize("lost", [10.0, 11.3, 13.9])
def test_it_is_noticed_in_time(lost: float, seconds: float, within: float, monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = Session(lost, seconds)
    monkeypatch.setattr(managed_group, "time", SimpleNamespace(monotonic=lambda: session.now))
    group = ManagedGroup(session, RunSpec.make({"job": "digits"}), bundles=None)  # type: ignore[arg-type]
    with pytest.raises(HostLostError):
        watch(group, session)
    assert lost < session.now < lost + within


def test_one_question_without_an_answer_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = Session(10.0, 0.0)
    monkeypatch.setattr(managed_group, "time", SimpleNamespace(monotonic=lambda: session.now))
    group = ManagedGroup(session, RunSpec.make({"job": "digits"}), bundles=None)  # type: ignore[arg-type]
    session.silent_for(4.0)
    watch(group, session)
    assert session.asked > 20
