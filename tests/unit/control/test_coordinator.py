"""The control loop, with simulated tasks and a clock that advances only when the loop waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest

from orchestrator.control.coordinator import (
    LONG_WAIT,
    LONGEST_WAIT,
    SHORTEST_WAIT,
    WAIT_PER_TASK,
)
from orchestrator.control.deadlines import STOP_GRACE_SECONDS
from orchestrator.control.hangs import HangLimits
from orchestrator.control.orders import Ready
from orchestrator.control.signals import Preempted
from orchestrator.control.states import CAUSE_GRACE_SECONDS, Completed, Idle, Launching
from orchestrator.errors import ClusterError
from orchestrator.plan.topology import EVALUATOR
from orchestrator.results import Finding
from tests.made import assignment
from tests.unit.control.fake_group import FakeGroup, script
from tests.unit.control.harness import (
    LEG,
    RUN,
    TARGET,
    W0,
    W1,
    Harness,
    all_in,
    at,
    broken,
    ended,
    failed,
    ready_to_score,
    scored,
    training,
)
from workers.messages import Assignment, FailureKind, Task
from workers.news import (
    LegStarted,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Vitals,
)

pytestmark = pytest.mark.unit


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_launch_tells_every_task_all_addresses(harness: Harness) -> None:
    def assign(task: Task, addresses: object) -> Assignment:
        return assignment(task, {"addresses": addresses})

    harness.coordinator.launch(assign)
    assert [(method, task) for method, task, _ in harness.group.told] == [
        ("reserve", W0),
        ("reserve", W1),
        ("start", W0),
        ("start", W1),
    ]
    addresses = {W0: "there:0", W1: "there:1"}
    assert harness.group.told[-1][2] == (assign(W1, addresses),)


def test_the_group_is_ready_when_its_last_task_is(harness: Harness) -> None:
    harness.group.news = script(
        all_in(ReplicaState.STARTING, W0, W1),
        [ReplicaStatus(W0, ReplicaState.READY)],
        [ReplicaStatus(W1, ReplicaState.READY)],
    )
    harness.evaluator.news = script([], all_in(ReplicaState.READY, EVALUATOR))
    harness.coordinator.await_ready(harness.clock.now + 60, harness.listen)
    assert isinstance(harness.coordinator.state, Idle)
    waiting = [len(tick.state.waiting) for tick in harness.ticks if isinstance(tick.state, Launching)]
    assert waiting == [3, 1]
    assert len(harness.ticks) == 3


def test_a_ready_group_does_not_wait_even_after_the_deadline(harness: Harness) -> None:
    harness.group.news = lambda: all_in(ReplicaState.READY, W0, W1, EVALUATOR)
    harness.coordinator.await_ready(harness.clock.now - 1, harness.listen)
    harness.coordinator.await_ready(harness.clock.now - 1, harness.listen)
    assert len(harness.ticks) == 2


def test_tasks_that_are_not_ready_in_time_are_named(harness: Harness) -> None:
    harness.group.news = lambda: [ReplicaStatus(W0, ReplicaState.READY), ReplicaStatus(W1, ReplicaState.STARTING)]
    with pytest.raises(ClusterError, match=r"missing: evaluator:0 \(silent\), worker:1 \(starting\)\."):
        harness.coordinator.await_ready(harness.clock.now + 5, harness.listen)
    assert sum(harness.group.waits) < 6


def test_a_task_that_fails_while_launching_breaks_the_attempt(harness: Harness) -> None:
    harness.group.news = script(all_in(ReplicaState.STARTING, W0, W1), [failed(W1, FailureKind.ADDRESS_TAKEN)])
    given_up = broken(harness.coordinator.await_ready(harness.clock.now + 60, harness.listen))
    assert given_up.cause.task == W1


def test_a_leg_trains_and_scores_its_snapshots(harness: Harness) -> None:
    plan = LegStarted(RUN, 100, 64, 50)
    harness.group.news = script(
        [training(plan)],
        [training(ready_to_score(50)), training(task=W1)],
        [training(ready_to_score(100, final=True), ended(100))],
    )
    harness.evaluator.news = script([], [], [scored(at(50))], [], [scored(at(100, final=True), 0.7)])
    end = harness.run()
    leg = replace(LEG, number=1)
    assert harness.group.legs == [(W0, leg), (W1, leg)]
    assert harness.group.stops == []
    snapshots = [(task, stamp) for method, task, (stamp, *_) in harness.group.told if method == "take_snapshot"]
    assert snapshots == [(W0, at(50)), (W0, at(100, final=True))]
    # The evaluator gets the group's handle, so that the snapshot need not pass through the driver.
    assert [handle for _, _, (_, handle) in harness.evaluator.told] == ["take_snapshot of worker:0"] * 2
    assert harness.evaluator.to_score == [at(50), at(100, final=True)]
    assert (end.plan, end.finished, end.stopping) == (plan, ended(100), None)
    assert end.last is not None
    assert end.last.stamp.step == 100
    assert isinstance(harness.coordinator.state, Idle)
    assert isinstance(harness.ticks[-1].state, Completed)


def test_two_legs_one_after_another(harness: Harness) -> None:
    for _ in range(2):
        harness.group.news = script([training(ended(100))])
        assert harness.run().finished == ended(100)
    assert len(harness.group.legs) == 4


def test_the_target_stops_every_trainer_once(harness: Harness) -> None:
    harness.group.news = script(
        [training(ready_to_score(10))],
        [],
        [training(ready_to_score(20))],
        [training(ready_to_score(25, final=True), ended(25, "target"))],
    )
    harness.evaluator.news = script(
        [], [scored(at(10), 0.95)], [], [scored(at(20), 0.97)], [scored(at(25, final=True))]
    )
    end = harness.run(TARGET)
    assert harness.group.stops == [(W0, "target"), (W1, "target")]
    assert end.reached is not None
    assert end.reached.stamp == at(10)
    assert end.stopping == "target"


def test_waits_grow_with_the_leg_and_start_short(harness: Harness) -> None:
    news = script(*[[training()]] * 80, [training(ended(1))])
    harness.group.news = news
    harness.run()
    waits = harness.group.waits
    assert waits[0] == SHORTEST_WAIT
    assert waits == sorted(waits)
    assert {wait for age, wait in zip(accumulate(waits), waits, strict=True) if 2 < age < 10} == {LONG_WAIT}
    assert max(waits) == LONGEST_WAIT
    assert set(harness.evaluator.waits) == {0}


def test_a_score_that_may_end_the_run_is_awaited_impatiently(harness: Harness) -> None:
    quiet = [[training()]] * 30
    harness.group.news = script(*quiet, [training(ready_to_score(10))], *quiet, [training(ended(20))])
    harness.evaluator.news = script(*[[]] * 60, [scored(at(10), 0.5)])
    harness.run(TARGET)
    waits = harness.group.waits
    assert (waits[30], waits[31]) == (LONG_WAIT, SHORTEST_WAIT)
    assert waits[31:40] == sorted(waits[31:40])
    assert waits[-1] >= LONG_WAIT


def test_waits_grow_with_a_large_group(harness: Harness) -> None:
    tasks = [Task("worker", index) for index in range(100)]
    group = FakeGroup(tasks, harness.clock, script(*[[training()]] * 24, [training(ended(1))]))
    harness.coordinator.renew(group)
    harness.run()
    assert max(group.waits) == 100 * WAIT_PER_TASK


def test_a_snapshot_can_be_rolled_back_to_as_soon_as_it_is_reported(harness: Harness) -> None:
    """A listener may find in the same poll that the loss has become NaN."""
    harness.group.news = script([training(ready_to_score(10))], [training(ended(12))])
    harness.evaluator.news = script([], [scored(at(10))])
    done = []
    diverged = Finding(kind="nan", step=50, symptom="it is")
    harness.coordinator.train(LEG, None, None, lambda _: done.append(harness.coordinator.react(diverged)))
    assert done[0] == "rolled back to step 10"


def test_a_timeout_stops_the_leg(harness: Harness) -> None:
    def news() -> Sequence[ReplicaStatus]:
        if harness.group.stops:
            return [training(ended(7, "timeout"))]
        return [training()]

    harness.group.news = news
    end = harness.run(seconds=3)
    assert harness.group.stops == [(W0, "timeout"), (W1, "timeout")]
    assert end.finished.stopped == "timeout"
    assert sum(harness.group.waits) == pytest.approx(3, abs=2 * LONGEST_WAIT)


def test_tasks_that_do_not_stop_are_given_up(harness: Harness) -> None:
    harness.group.news = lambda: [training()]
    with pytest.raises(ClusterError, match="did not stop within 15 s"):
        harness.run(seconds=3)
    assert harness.group.stops == [(W0, "timeout"), (W1, "timeout")]
    assert sum(harness.group.waits) == pytest.approx(3 + STOP_GRACE_SECONDS, abs=2 * LONGEST_WAIT)


def test_a_timeout_does_not_hide_that_the_target_was_reached(harness: Harness) -> None:
    """The trainers are already stopping, and a second reason would replace the first."""
    harness.group.news = script([training(ready_to_score(10))], *[[training()]] * 30, [training(ended(12))])
    harness.evaluator.news = script([], [scored(at(10), 0.95)])
    harness.run(TARGET, seconds=2)
    assert harness.group.stops == [(W0, "target"), (W1, "target")]


def test_a_finished_leg_is_not_stopped_while_its_last_snapshot_is_scored(harness: Harness) -> None:
    end = at(100, final=True)
    harness.group.news = script([training(SnapshotReady(end), ended(100))])
    harness.evaluator.news = script(*[[]] * 30, [scored(end)])
    assert harness.run(seconds=1).last is not None
    assert harness.group.stops == []


def test_a_lost_peer_waits_for_its_cause(harness: Harness) -> None:
    harness.group.news = script(
        [failed(W0, FailureKind.PEER)], [failed(W0, FailureKind.PEER), failed(W1, FailureKind.USER)]
    )
    given_up = harness.breaks()
    assert given_up.cause.task == W1
    assert [failure.task for failure in given_up.failures] == [W0, W1]


def test_waiting_for_a_cause_ends_after_the_grace_period(harness: Harness) -> None:
    harness.group.news = lambda: [failed(W0, FailureKind.PEER)]
    given_up = harness.breaks()
    assert given_up.cause.kind is FailureKind.PEER
    assert sum(harness.group.waits) == pytest.approx(CAUSE_GRACE_SECONDS, abs=0.2)


def test_an_error_in_the_evaluator_breaks_the_attempt(harness: Harness) -> None:
    harness.evaluator.news = script([failed(EVALUATOR, FailureKind.SPEC)])
    given_up = harness.breaks()
    assert given_up.cause.task == EVALUATOR


def assign(task: Task, addresses: object) -> Assignment:
    return assignment(task, {"addresses": addresses})


def test_a_replaced_evaluator_gets_unscored_snapshots_again(harness: Harness) -> None:
    harness.evaluator.launch(assign)
    harness.group.news = script(
        [training(ready_to_score(50))],
        [],
        [],
        [training(ready_to_score(100, final=True), ended(100))],
    )
    alive = all_in(ReplicaState.READY, EVALUATOR)
    harness.evaluator.news = script(
        [], [failed(EVALUATOR, FailureKind.INFRASTRUCTURE)], alive, [], [scored(at(50))], [scored(at(100, final=True))]
    )
    harness.run()
    assert harness.evaluator.replaced == [EVALUATOR]
    assert harness.evaluator.to_score == [at(50), at(50), at(100, final=True)]
    replaced = [failure.task for tick in harness.ticks for failure in tick.replaced]
    assert replaced == [EVALUATOR]


def test_a_snapshot_that_is_taken_as_the_evaluator_is_replaced_goes_to_the_new_one(harness: Harness) -> None:
    harness.evaluator.launch(assign)
    last = at(100, final=True)
    harness.group.news = script([], [training(ready_to_score(100, final=True), ended(100))])
    harness.evaluator.news = script([], [failed(EVALUATOR, FailureKind.INFRASTRUCTURE)], [], [scored(last)])
    harness.run()
    told = [(method, *arguments[:1]) for method, _, arguments in harness.evaluator.told if method in ("renew", "score")]
    assert told == [("renew",), ("score", last)]


def test_a_task_that_dies_repeatedly_ends_the_attempt(harness: Harness) -> None:
    harness.evaluator.launch(assign)
    harness.group.news = lambda: all_in(ReplicaState.TRAINING, W0, W1)
    polls = iter(range(10**6))

    def dies_again() -> Sequence[ReplicaStatus]:
        # It is ready again in every other poll, without having worked.
        dead = next(polls) % 2 == 0
        return [failed(EVALUATOR, FailureKind.INFRASTRUCTURE)] if dead else all_in(ReplicaState.READY, EVALUATOR)

    harness.evaluator.news = dies_again
    given_up = harness.breaks()
    assert given_up.cause.task == EVALUATOR
    assert len(harness.evaluator.replaced) == 3


def test_a_replacement_that_never_answers_is_not_awaited_for_ever(harness: Harness) -> None:
    """Its host takes no processes any more; the scores that are missing would have been awaited without end."""
    harness.evaluator.launch(assign)
    harness.group.news = script([training(ready_to_score(100, final=True), ended(100))])
    harness.evaluator.news = script(
        all_in(ReplicaState.READY, EVALUATOR), [failed(EVALUATOR, FailureKind.INFRASTRUCTURE)]
    )
    began = harness.clock.now
    given_up = harness.breaks()
    assert (given_up.cause.task, given_up.cause.kind) == (EVALUATOR, FailureKind.HUNG)
    assert "its supervisor does not answer" in given_up.cause.summary
    assert len(harness.evaluator.replaced) == 3
    assert harness.clock.now - began < 200


def test_a_leg_is_stopped_by_its_number(harness: Harness) -> None:
    """A stop that arrives between two legs must not end the wrong one."""
    harness.group.news = lambda: [training(ended(100))]
    harness.run()
    harness.run()
    assert [leg.number for task, leg in harness.group.legs if task == W0] == [1, 2]
    harness.group.news = script([training()], [training(ended(100))])
    harness.run(seconds=-1)
    stops = [arguments for method, _, arguments in harness.group.told if method == "request_stop"]
    assert stops == [("timeout", 3), ("timeout", 3)]


def test_idle_tasks_that_are_not_ready_in_time_are_named_and_retried_with_new_ports(harness: Harness) -> None:
    waits, stopped = Vitals("S", 1.0), Vitals("T", 1.0)
    harness.group.news = lambda: [
        ReplicaStatus(W0, ReplicaState.STARTING, vitals=waits),
        ReplicaStatus(W1, ReplicaState.STARTING, vitals=stopped),
    ]
    harness.evaluator.news = lambda: all_in(ReplicaState.READY, EVALUATOR)
    given_up = broken(harness.coordinator.await_ready(harness.clock.now + 60, harness.listen))
    cause, other = given_up.cause, given_up.failures[1]
    assert (cause.task, cause.kind) == (W1, FailureKind.LATE)
    assert "missing: worker:0 (starting), worker:1 (starting)" in cause.summary
    assert (other.task, other.kind) == (W0, FailureKind.LATE)


def test_a_launch_goes_on_while_one_that_is_missing_waits_for_one_that_computes(harness: Harness) -> None:
    """A chief waits for its worker to read the data. The worker is ready, and computes until the last minute."""
    limit = HangLimits().first_call_seconds
    begin = harness.clock.now
    working = 1.5 * limit

    def news() -> list[ReplicaStatus]:
        seconds = harness.clock.now - begin
        waits = ReplicaState.STARTING if seconds < working else ReplicaState.READY
        return [
            ReplicaStatus(W0, waits, vitals=Vitals("S", 1.0)),
            ReplicaStatus(W1, ReplicaState.READY, vitals=Vitals("S", 0.5 * min(seconds, working))),
        ]

    harness.group.news = news
    harness.evaluator.news = lambda: all_in(ReplicaState.READY, EVALUATOR)
    assert harness.coordinator.await_ready(begin + limit, harness.listen) == Ready()
    assert harness.clock.now - begin >= working


def test_a_launch_goes_on_while_what_is_missing_computes_for_up_to_three_times_the_timeout(harness: Harness) -> None:
    begin = harness.clock.now
    harness.group.news = lambda: [
        ReplicaStatus(W0, ReplicaState.READY),
        ReplicaStatus(W1, ReplicaState.STARTING, vitals=Vitals("R", 0.5 * harness.clock.now)),
    ]
    harness.evaluator.news = lambda: all_in(ReplicaState.READY, EVALUATOR)
    limit = HangLimits().first_call_seconds
    with pytest.raises(ClusterError, match=r"missing: worker:1 \(starting\)\..*--launch-timeout"):
        harness.coordinator.await_ready(begin + limit, harness.listen)
    assert harness.clock.now - begin == pytest.approx(3 * limit, abs=10)


def test_preemption_while_launching_ends_the_command(harness: Harness) -> None:
    harness.group.news = lambda: [ReplicaStatus(W0, ReplicaState.STARTING, preempted=True)]
    with pytest.raises(Preempted):
        harness.coordinator.await_ready(harness.clock.now + 60, harness.listen)


def test_a_reached_target_outlives_a_restart(harness: Harness) -> None:
    """The target was reached before the attempt broke, so the next one is stopped at once."""
    harness.group.news = script([training(ready_to_score(50))], [], [failed(W1, FailureKind.INFRASTRUCTURE)])
    harness.evaluator.news = script([], [scored(at(50), 0.95)])
    broken(harness.outcome(TARGET))
    group = FakeGroup([W0, W1], harness.clock, script([training()], [training(ended(60, "target"))]))
    harness.coordinator.renew(group)
    end = harness.run(TARGET)
    assert end.reached is not None
    assert end.reached.stamp == at(50)
    assert group.stops == [(W0, "target"), (W1, "target")]
