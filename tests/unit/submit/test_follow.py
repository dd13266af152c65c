"""Following a run over a connection that breaks: every line is shown once, and the run is not affected."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.errors import ClusterError
from orchestrator.submit.follow import LOST_SECONDS, Follower, wait_for
from orchestrator.submit.jobs_api import LostConnection, Submission

pytestmark = pytest.mark.unit


def submission(status: str) -> Submission:
    return Submission("r", status, "run", "digits", "me", {}, "", None, None, None)


class FakeSource:
    """Gives one (status, log) answer after another; None is a lost connection."""

    def __init__(self, answers: Sequence[tuple[str, str] | None]) -> None:
        self._answers = list(answers)
        self.now = 0.0

    def status(self, run_id: str) -> Submission:
        answer = self._answers[0]
        if answer is None:
            if len(self._answers) > 1:
                self._answers.pop(0)
            raise LostConnection("Gone.")
        return submission(answer[0])

    def logs(self, run_id: str) -> str:
        answer = self._answers[0]
        assert answer is not None
        if len(self._answers) > 1:
            self._answers.pop(0)
        return answer[1]

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def follow(answers: Sequence[tuple[str, str] | None]) -> tuple[str, Submission]:
    source = FakeSource(answers)
    shown: list[str] = []
    ended = Follower(source, shown.append, clock=lambda: source.now, sleep=source.sleep).follow("r")
    return "".join(shown), ended


def test_every_line_is_shown_once_and_whole() -> None:
    text, ended = follow(
        [("PENDING", ""), ("RUNNING", "one\ntw"), ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", "one\ntwo\nlast")]
    )
    assert (text, ended.status) == ("one\ntwo\nlast", "SUCCEEDED")


def test_lines_of_ray_are_left_out() -> None:
    rays = "2026-11-21 00:41:43,215\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
    text, _ = follow([("FAILED", f"{rays}Running entrypoint for job x: y\nours\n")])
    assert text == "ours\n"


def test_a_lost_connection_loses_nothing() -> None:
    text, _ = follow([("RUNNING", "one\n"), None, None, ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", "one\ntwo\nthree\n")])
    assert text == "one\nGone. The run continues; trying again.\ntwo\nthree\n"


def test_following_gives_up_and_says_how_to_resume() -> None:
    source = FakeSource([("RUNNING", "one\n"), None])
    with pytest.raises(ClusterError, match=r"The run continues: `regatta logs -f r`"):
        Follower(source, lambda _: None, clock=lambda: source.now, sleep=source.sleep).follow("r")
    assert LOST_SECONDS < source.now < LOST_SECONDS + 10


def test_waiting_is_limited() -> None:
    with pytest.raises(ClusterError, match="still RUNNING after 0 s"):
        wait_for(lambda: submission("RUNNING"), 0, sleep=lambda _: None)
    assert wait_for(lambda: submission("FAILED"), 0).status == "FAILED"
