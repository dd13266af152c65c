"""Which silence is a hang: with made-up processes and a clock of its own."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.control.events import Launched
from orchestrator.control.hangs import HangLimits, HangWatch
from tests.made import in_order, status
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import Deciding, Evaluation, ReplicaState, ReplicaStatus, Stamp, StepBatch, Vitals

pytestmark = pytest.mark.unit

CHIEF, PS, W0, W1, EVALUATOR = (
    Task(*t) for t in [("chief", 0), ("ps", 0), ("worker", 0), ("worker", 1), ("evaluator", 0)]
)
SYNC, ASYNC = (W0, W1), (CHIEF, PS, W0, W1)
HANG, FIRST = 30.0, 120.0


class Group:
    """Tasks that answer every half second; each trains, waits, computes or is stopped, as the test says."""

    def __init__(self, tasks: tuple[Task, ...], call_seconds: float = 0.1) -> None:
        self.now = 100.0
        self.tasks = tasks
        independent = frozenset(() if tasks is SYNC else (W0, W1))
        launched = Launched(tasks, (EVALUATOR,), independent, calls_in_flight=2)
        self.watch = HangWatch(launched, HangLimits(HANG, FIRST), self.now)
        self.cpu = dict.fromkeys((*tasks, EVALUATOR), 0.0)
        self.share = dict.fromkeys((*tasks, EVALUATOR), 0.001)
        self.letter = dict.fromkeys((*tasks, EVALUATOR), "S")
        self.silent: set[Task] = set()
        self.training = [0] if tasks is SYNC else [0, 1]
        self.call_seconds = call_seconds
        self.watch.leg_begins(self.now)

    def passes(self, seconds: float, **news: object) -> list[TaskFailure]:
        """What is found in that time."""
        found: list[TaskFailure] = []
        end, due = self.now + seconds, self.now + self.call_seconds
        while self.now < end:
            self.now += 0.5
            batches = []
            if self.now >= due:
                due = self.now + self.call_seconds
                batches = [_batch(worker, self.call_seconds) for worker in self.training]
            found += self.watch.observe(self._statuses(batches, news), self.now)
            news = {}
        return found

    def _statuses(self, batches: list[StepBatch], news: dict[str, object]) -> list[ReplicaStatus]:
        statuses = []
        for task in (*self.tasks, EVALUATOR):
            if task in self.silent:
                continue
            self.cpu[task] += 0.5 * self.share[task]
            told = {"batches": tuple(batches), **news} if task == self.tasks[0] else {}
            vitals = Vitals(self.letter[task], self.cpu[task])
            statuses.append(status(task, *in_order(**told), vitals=vitals))
        return statuses


def _batch(worker: int, seconds: float) -> StepBatch:
    return StepBatch("r", worker, np.array([1]), np.array([0.1]), np.ones(1), None, seconds)


def names(found: list[TaskFailure]) -> set[str]:
    assert {failure.kind for failure in found} <= {FailureKind.HUNG}
    return {str(failure.task) for failure in found}


@pytest.mark.parametrize("tasks", [SYNC, ASYNC])
def test_a_group_that_trains_never_hangs(tasks: tuple[Task, ...]) -> None:
    assert Group(tasks).passes(1000) == []


@pytest.mark.parametrize(("tasks", "guilty"), [(SYNC, W0), (SYNC, W1), (ASYNC, CHIEF), (ASYNC, PS)])
def test_a_stopped_task_that_holds_everybody_up_is_named_alone(tasks: tuple[Task, ...], guilty: Task) -> None:
    group = Group(tasks)
    assert group.passes(60) == []
    group.training, group.letter[guilty] = [], "T"
    assert group.passes(HANG - 1) == []
    assert names(group.passes(3)) == {str(guilty)}


def test_a_stopped_async_worker_is_named_while_the_others_train_on() -> None:
    group = Group(ASYNC)
    group.passes(60)
    group.training, group.letter[W1] = [0], "T"
    assert group.passes(HANG - 1) == []
    assert names(group.passes(3)) == {"worker:1"}


def test_an_async_worker_that_waits_for_ever_is_named_too() -> None:
    group = Group(ASYNC)
    group.passes(60)
    group.training = [0]
    assert names(group.passes(HANG + 2)) == {"worker:1"}


def test_a_worker_without_work_does_not_hang() -> None:
    """At the end of a leg the chief hands out nothing more, and waits for the slowest."""
    group = Group(ASYNC, call_seconds=20.0)
    group.passes(200)
    group.training = [0]
    assert group.passes(70) == []


def test_everybody_waiting_is_a_hang_of_all() -> None:
    """A partition: all processes live, none computes."""
    group = Group(SYNC)
    group.passes(60)
    group.training = []
    assert names(group.passes(HANG + 2)) == {"worker:0", "worker:1"}


def test_a_supervisor_that_does_not_answer_is_named() -> None:
    group = Group(SYNC)
    group.passes(60)
    group.training, group.silent = [], {W1}
    found = group.passes(HANG + 2)
    assert names(found) == {"worker:1"}
    assert "does not answer" in found[0].summary


def test_one_that_computes_is_slow_and_not_hung() -> None:
    group = Group(SYNC)
    group.passes(60)
    group.training, group.share[W1] = [], 0.5
    assert group.passes(9 * HANG) == []
    assert names(group.passes(2 * HANG)) == {"worker:1"}


@pytest.mark.parametrize("call_seconds", [0.1, 1.0, 10.0, 100.0])
def test_a_worker_that_turns_eight_times_slower_is_not_hung(call_seconds: float) -> None:
    group = Group(SYNC, call_seconds)
    group.share[W1] = 0.9
    group.passes(20 * call_seconds)
    group.call_seconds *= 8
    assert group.passes(100 * call_seconds) == []


def test_the_limit_is_five_of_the_slowest_calls() -> None:
    group = Group(SYNC, call_seconds=20.0)
    group.passes(200)
    group.training = []
    assert group.passes(95) == []
    assert names(group.passes(10)) == {"worker:0", "worker:1"}


def test_the_first_call_may_take_longer() -> None:
    group = Group(SYNC)
    group.training = []
    assert group.passes(FIRST - 1) == []
    assert names(group.passes(3)) == {"worker:0", "worker:1"}


def test_a_stopped_process_is_found_before_its_first_call_as_well() -> None:
    group = Group(SYNC)
    group.training, group.letter[W1] = [], "T"
    assert group.passes(HANG - 1) == []
    assert names(group.passes(3)) == {"worker:1"}


def test_callbacks_may_take_their_time_unless_the_process_is_stopped() -> None:
    group = Group(SYNC)
    group.passes(60)
    group.training = []
    assert group.passes(1000, deciding=(Deciding("r", begins=True),)) == []
    group.letter[W0] = "T"
    assert names(group.passes(1)) == {"worker:0"}
    group.letter[W0] = "S"
    assert group.passes(HANG - 1, deciding=(Deciding("r", begins=False),)) == []
    assert names(group.passes(3)) == {"worker:0", "worker:1"}


def test_a_second_life_starts_from_nothing() -> None:
    group = Group(ASYNC)
    group.passes(60)
    group.training, group.letter[W1] = [0], "T"
    group.passes(HANG + 1)
    group.letter[W1] = "S"
    group.watch.replaced(W1, group.now)
    group.training = [0, 1]
    assert group.passes(100) == []


def test_an_evaluator_hangs_only_with_something_to_do() -> None:
    group = Group(SYNC)
    group.watch.scores_awaited(0, group.now)
    assert group.passes(300) == []
    group.watch.scores_awaited(1, group.now)
    group.share[EVALUATOR] = 1.0
    assert group.passes(FIRST + 30) == []
    stamp = Stamp("r", 1, 1, 1.0)
    assert group.passes(1, evaluations=(Evaluation(stamp, {}, 2.0),)) == []
    group.share[EVALUATOR], group.letter[EVALUATOR] = 0.0, "T"
    assert names(group.passes(HANG + 1)) == {"evaluator:0"}


def test_no_leg_no_hang() -> None:
    group = Group(SYNC)
    group.watch.leg_ends()
    group.training, group.letter[W1] = [], "T"
    assert group.passes(1000) == []
    assert names(list(group.watch.stopped())) == {"worker:1"}
    assert [str(f.task) for f in group.watch.suspects([W0, W1], group.now)] == ["worker:1", "worker:0"]


def test_a_kernel_that_tells_nothing_blames_nobody() -> None:
    watch = HangWatch(Launched(SYNC, (EVALUATOR,)), HangLimits(HANG, FIRST), 0.0)
    watch.leg_begins(0.0)
    statuses = [ReplicaStatus(task, ReplicaState.TRAINING) for task in SYNC]
    found = [watch.observe(statuses, float(now)) for now in range(int(FIRST * 9))]
    assert not any(found)
