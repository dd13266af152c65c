"""`HangWatch` finds tasks that hang and no others, with simulated processes and time."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.control.events import Launched
from orchestrator.control.hangs import HangLimits, HangWatch
from tests.made import in_order, status
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import Deciding, Evaluation, ReplicaState, ReplicaStatus, Stamp, StepBatch, Vitals

CHIEF, PS, W0, W1, EVALUATOR = (
    Task(*t) for t in [("chief", 0), ("ps", 0), ("worker", 0), ("worker", 1), ("evaluator", 0)]
)
W2 = Task("worker", 2)
SYNC, ASYNC = (W0, W1), (CHIEF, PS, W0, W1)
THREE = (CHIEF, PS, W0, W1, W2)
HANG, FIRST = 30.0, 120.0


class Group:
    """Tasks that are polled every half second; a test makes each train, wait, compute or stop."""

    def __init__(self, tasks: tuple[Task, ...], call_seconds: float = 0.1, *, bounded: bool = False) -> None:
        self.now = 100.0
        self.tasks = tasks
        independent = frozenset(() if tasks is SYNC else (task for task in tasks if task.type == "worker"))
        launched = Launched(tasks, (EVALUATOR,), independent, calls_in_flight=1 if bounded else 2, bounded=bounded)
        self.watch = HangWatch(launched, HangLimits(HANG, FIRST), self.now)
        self.cpu = dict.fromkeys((*tasks, EVALUATOR), 0.0)
        self.cpu_share = dict.fromkeys((*tasks, EVALUATOR), 0.001)
        self.process_state = dict.fromkeys((*tasks, EVALUATOR), "S")
        self.silent: set[Task] = set()
        self.training = [0] if tasks is SYNC else sorted(task.index for task in independent)
        self.call_seconds = call_seconds
        self.watch.leg_begins(self.now)

    def run(self, seconds: float, **news: object) -> list[TaskFailure]:
        """Failures found within the next `seconds`."""
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
            self.cpu[task] += 0.5 * self.cpu_share[task]
            told = {"batches": tuple(batches), **news} if task == self.tasks[0] else {}
            vitals = Vitals(self.process_state[task], self.cpu[task])
            statuses.append(status(task, *in_order(**told), vitals=vitals))
        return statuses


def _batch(worker: int, seconds: float) -> StepBatch:
    return StepBatch("r", worker, np.array([1]), np.array([0.1]), np.ones(1), None, seconds)


def names(found: list[TaskFailure]) -> set[str]:
    assert {failure.kind for failure in found} <= {FailureKind.HUNG}
    return {str(failure.task) for failure in found}


@pytest.mark.parametrize("tasks", [SYNC, ASYNC])
def test_a_group_that_trains_never_hangs(tasks: tuple[Task, ...]) -> None:
    assert Group(tasks).run(1000) == []


@pytest.mark.parametrize(("tasks", "guilty"), [(SYNC, W0), (SYNC, W1), (ASYNC, CHIEF), (ASYNC, PS)])
def test_only_the_stopped_task_that_blocks_the_others_is_blamed(tasks: tuple[Task, ...], guilty: Task) -> None:
    group = Group(tasks)
    assert group.run(60) == []
    group.training, group.process_state[guilty] = [], "T"
    assert group.run(HANG - 1) == []
    assert names(group.run(3)) == {str(guilty)}


def test_a_stopped_async_worker_is_blamed_while_the_others_train() -> None:
    group = Group(ASYNC)
    group.run(60)
    group.training, group.process_state[W1] = [0], "T"
    assert group.run(HANG - 1) == []
    assert names(group.run(3)) == {"worker:1"}


def test_an_async_worker_that_waits_without_end_is_blamed() -> None:
    group = Group(ASYNC)
    group.run(60)
    group.training = [0]
    assert names(group.run(HANG + 2)) == {"worker:1"}


def test_a_worker_without_work_does_not_hang() -> None:
    """At the end of a leg the chief schedules no more calls, and waits for the slowest worker."""
    group = Group(ASYNC, call_seconds=20.0)
    group.run(200)
    group.training = [0]
    assert group.run(70) == []


def test_if_all_tasks_wait_all_are_blamed() -> None:
    """A network partition: all processes are alive, and none computes."""
    group = Group(SYNC)
    group.run(60)
    group.training = []
    assert names(group.run(HANG + 2)) == {"worker:0", "worker:1"}


def test_a_task_whose_supervisor_does_not_answer_is_blamed() -> None:
    group = Group(SYNC)
    group.run(60)
    group.training, group.silent = [], {W1}
    found = group.run(HANG + 2)
    assert names(found) == {"worker:1"}
    assert "does not answer" in found[0].summary


def test_a_task_that_computes_counts_as_slow_and_not_hung() -> None:
    group = Group(SYNC)
    group.run(60)
    group.training, group.cpu_share[W1] = [], 0.5
    assert group.run(9 * HANG) == []
    assert names(group.run(2 * HANG)) == {"worker:1"}


@pytest.mark.parametrize("call_seconds", [0.1, 1.0, 10.0, 100.0])
def test_a_worker_that_turns_eight_times_slower_is_not_hung(call_seconds: float) -> None:
    group = Group(SYNC, call_seconds)
    group.cpu_share[W1] = 0.9
    group.run(20 * call_seconds)
    group.call_seconds *= 8
    assert group.run(100 * call_seconds) == []


def test_the_limit_is_five_of_the_slowest_calls() -> None:
    group = Group(SYNC, call_seconds=20.0)
    group.run(200)
    group.training = []
    assert group.run(95) == []
    assert names(group.run(10)) == {"worker:0", "worker:1"}


def test_the_first_call_may_take_longer() -> None:
    group = Group(SYNC)
    group.training = []
    assert group.run(FIRST - 1) == []
    assert names(group.run(3)) == {"worker:0", "worker:1"}


def test_a_stopped_process_is_found_before_its_first_call_as_well() -> None:
    group = Group(SYNC)
    group.training, group.process_state[W1] = [], "T"
    assert group.run(HANG - 1) == []
    assert names(group.run(3)) == {"worker:1"}


def test_callbacks_may_take_any_time_unless_the_process_is_stopped() -> None:
    group = Group(SYNC)
    group.run(60)
    group.training = []
    assert group.run(1000, deciding=(Deciding("r", begins=True),)) == []
    group.process_state[W0] = "T"
    assert names(group.run(1)) == {"worker:0"}
    group.process_state[W0] = "S"
    assert group.run(HANG - 1, deciding=(Deciding("r", begins=False),)) == []
    assert names(group.run(3)) == {"worker:0", "worker:1"}


def test_a_replaced_task_starts_with_a_clean_record() -> None:
    group = Group(ASYNC)
    group.run(60)
    group.training, group.process_state[W1] = [0], "T"
    group.run(HANG + 1)
    group.process_state[W1] = "S"
    group.watch.replaced(W1, group.now)
    group.training = [0, 1]
    assert group.run(100) == []


def test_an_evaluator_is_blamed_only_while_it_has_snapshots_to_score() -> None:
    group = Group(SYNC)
    group.watch.scores_awaited(0, group.now)
    assert group.run(300) == []
    group.watch.scores_awaited(1, group.now)
    group.cpu_share[EVALUATOR] = 1.0
    assert group.run(FIRST + 30) == []
    stamp = Stamp("r", 1, 1, 1.0)
    assert group.run(1, evaluations=(Evaluation(stamp, {}, 2.0),)) == []
    group.cpu_share[EVALUATOR], group.process_state[EVALUATOR] = 0.0, "T"
    assert names(group.run(HANG + 1)) == {"evaluator:0"}


def test_without_a_leg_no_task_is_blamed() -> None:
    group = Group(SYNC)
    group.watch.leg_ends()
    group.training, group.process_state[W1] = [], "T"
    assert group.run(1000) == []
    assert names(list(group.watch.stopped())) == {"worker:1"}
    assert [str(f.task) for f in group.watch.suspects([W0, W1], group.now)] == ["worker:1", "worker:0"]


def test_without_process_readings_no_task_is_blamed() -> None:
    watch = HangWatch(Launched(SYNC, (EVALUATOR,)), HangLimits(HANG, FIRST), 0.0)
    watch.leg_begins(0.0)
    statuses = [ReplicaStatus(task, ReplicaState.TRAINING) for task in SYNC]
    found = [watch.observe(statuses, float(now)) for now in range(int(FIRST * 9))]
    assert not any(found)


# Modes with a bound, where those ahead wait for the slowest.


def test_of_workers_that_wait_for_one_another_the_slowest_is_blamed() -> None:
    group = Group(THREE, bounded=True)
    group.run(60)
    group.training = [0, 2]  # one call ahead, and then they wait
    group.run(0.5)
    group.training = []
    assert group.run(HANG - 2) == []
    assert names(group.run(3)) == {"worker:1"}


def test_while_the_slowest_is_replaced_none_is_blamed_for_waiting() -> None:
    group = Group(THREE, bounded=True)
    group.run(60)
    group.training = [0, 2]
    group.run(0.5)
    group.training, group.process_state[W1] = [], "T"
    assert names(group.run(HANG + 1)) == {"worker:1"}
    group.watch.replaced(W1, group.now)
    group.process_state[W1] = "S"
    assert group.run(HANG - 1) == []
    group.training = [0, 1, 2]
    assert group.run(200) == []


def test_if_replacing_the_slowest_does_not_help_all_are_blamed() -> None:
    group = Group(THREE, bounded=True)
    group.run(60)
    group.training = [0, 2]
    group.run(0.5)
    group.training = []
    assert names(group.run(HANG)) == {"worker:1"}
    group.watch.replaced(W1, group.now)
    assert names(group.run(HANG + 2)) == {str(task) for task in THREE}


def test_if_all_have_as_many_steps_none_waits_for_another() -> None:
    group = Group(THREE, bounded=True)
    group.run(60)
    group.training = []
    assert names(group.run(HANG + 2)) == {str(task) for task in THREE}


def test_a_worker_that_waits_for_a_slow_one_is_not_hung_whatever_a_third_does() -> None:
    """worker:1 computes for minutes; worker:0 has as many steps as it may, and worker:2 has not yet."""
    group = Group(THREE, bounded=True)
    group.run(60)
    group.training = [0, 2]
    group.run(5)
    group.training, group.cpu_share[W1], group.cpu_share[W2] = [2], 0.9, 0.5
    assert group.run(3 * HANG) == []


@pytest.mark.parametrize("tasks", [SYNC, ASYNC, THREE])
def test_time_in_which_the_driver_was_stopped_is_not_counted(tasks: tuple[Task, ...]) -> None:
    """Its tasks waited for it, or went on without a word of it; one that hangs is found later than usual."""
    group = Group(tasks)
    group.run(60)
    group.watch.scores_awaited(1, group.now)
    for silent in (set(), {tasks[-1]}):
        group.silent = silent
        group.now += 20 * HANG
        group.training = []
        assert group.run(HANG - 1) == []
        assert names(group.run(3))
        group.training, group.silent = [0], set()
        group.watch.leg_begins(group.now)
        group.run(2)
