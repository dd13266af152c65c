"""Where a task waits that is not ready in time."""

from __future__ import annotations

import threading
from dataclasses import replace
from traceback import FrameSummary

import pytest

from orchestrator.control.states import Launching, next_state
from tests.made import assignment, status
from workers.messages import Task, Waits
from workers.news import ReplicaState
from workers.session import PACKAGES
from workers.task.waiting import say_if_late, where

pytestmark = pytest.mark.unit

TASK = Task("worker", 0)
OURS = FrameSummary(f"{PACKAGES}/workers/task/main.py", 130, "_train", line="job.build_model()")
USERS = FrameSummary("/home/me/my_job.py", 12, "train_dataset", line="rows = fetch(url)")
LIBRARY = FrameSummary("/env/lib/site-packages/tensorflow/ops.py", 7, "execute", line="wait()")


def test_the_jobs_own_line_is_named_and_the_innermost_function() -> None:
    assert where([OURS, USERS, LIBRARY]) == (
        "in train_dataset (my_job.py:12: rows = fetch(url)), in execute (ops.py:7)"
    )
    assert where([OURS, USERS]) == "in train_dataset (my_job.py:12: rows = fetch(url))"
    assert where([OURS, LIBRARY]) == "in execute (ops.py:7)"


def test_a_late_task_says_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[Waits] = []
    told = threading.Event()

    def send(waits: Waits) -> None:
        sent.append(waits)
        told.set()

    say_if_late(replace(assignment(TASK), ready_within=0.01), send)
    assert told.wait(30)
    assert [one.task for one in sent] == [TASK]
    assert "wait" in sent[0].where
    assert "regatta: not ready yet. The main thread is at:" in capsys.readouterr().err


def test_a_task_that_is_ready_says_nothing() -> None:
    cancel = say_if_late(replace(assignment(TASK), ready_within=1000.0), pytest.fail)
    cancel()
    say_if_late(assignment(TASK), pytest.fail)()


def test_the_driver_remembers_where_each_missing_task_was() -> None:
    other = Task("worker", 1)
    state = Launching(frozenset({TASK, other}))
    starting = ReplicaState.STARTING
    for statuses in ([status(TASK, Waits(TASK, "in f"), state=starting)], [status(TASK, state=starting)]):
        state, _ = next_state(state, statuses, 0.0)
    assert isinstance(state, Launching)
    assert state.missing == "worker:0 (starting; in f), worker:1 (silent)"
