"""The control loop, with tasks that are made up and time that passes only when it waits."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control import events
from orchestrator.control.coordinator import (
    LONG_WAIT,
    LONGEST_WAIT,
    SHORTEST_WAIT,
    WAIT_PER_TASK,
    Coordinator,
    Tick,
)
from orchestrator.control.deadlines import STOP_GRACE_SECONDS
from orchestrator.control.machine import Machine, Rules
from orchestrator.control.orders import Ended, GiveUp, Outcome, Relaunch
from orchestrator.control.preemption import Preempted
from orchestrator.control.states import CAUSE_GRACE_SECONDS, Idle, Launching, Over, Training
from orchestrator.errors import ClusterError
from orchestrator.metric_target import MetricTarget
from orchestrator.plan.topology import EVALUATOR
from orchestrator.results import Finding
from tests.made import assignment, leg, status
from tests.unit.control.fake_group import FakeClock, FakeGroup, script
from workers.messages import Assignment, FailureKind, Task, TaskFailure
from workers.modes.registry import MODES
from workers.news import (
    Evaluation,
    LegFinished,
    LegStarted,
    News,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Stamp,
    Vitals,
)

pytestmark = pytest.mark.unit

W0, W1 = Task("worker", 0), Task("worker", 1)
RUN = "digits-sync-s0"
LEG = leg(RUN)
TARGET = MetricTarget.parse("val_accuracy>=0.9")


def all_in(state: ReplicaState, *tasks: Task) -> list[ReplicaStatus]:
    return [ReplicaStatus(task, state) for task in tasks]


def training(*news: News, task: Task = W0) -> ReplicaStatus:
    return status(task, *news)


def ready_to_score(step: int, *, final: bool = False) -> SnapshotReady:
    return SnapshotReady(at(step, final=final))


def at(step: int, *, final: bool = False) -> Stamp:
    return Stamp(RUN, step, 64 * step, step / 100, final)


def scored(stamp: Stamp, accuracy: float = 0.5) -> ReplicaStatus:
    evaluation = Evaluation(stamp, {"val_accuracy": accuracy}, 0.1)
    return status(EVALUATOR, evaluation, state=ReplicaState.READY)


def ended(step: int, stopped: str | None = None) -> LegFinished:
    return LegFinished(RUN, step, 64 * step, step / 100, stopped, step)


def failed(task: Task, kind: FailureKind) -> ReplicaStatus:
    return ReplicaStatus(task, ReplicaState.FAILED, failure=TaskFailure(task, kind, "why"))


class Crew:
    """A coordinator over two workers and an evaluator, and everything it showed."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.group = FakeGroup([W0, W1], self.clock)
        self.evaluator = FakeGroup([EVALUATOR], self.clock)
        self.machine = Machine(Rules())
        self.coordinator = Coordinator(self.group, self.evaluator, MODES["sync"], self.machine, self.clock)
        self.coordinator.begin_run(events.RunBegan("r", "rollback"))
        self.ticks: list[Tick] = []

    def listen(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def outcome(self, target: MetricTarget | None = None, seconds: float | None = None) -> Outcome:
        deadline = None if seconds is None else self.clock.now + seconds
        return self.coordinator.train(LEG, target, deadline, self.listen)

    def run(self, target: MetricTarget | None = None, seconds: float | None = None) -> Ended:
        outcome = self.outcome(target, seconds)
        assert isinstance(outcome, Ended)
        return outcome

    def breaks(self) -> Relaunch | GiveUp:
        return broken(self.outcome())


def broken(outcome: Outcome) -> Relaunch | GiveUp:
    assert isinstance(outcome, Relaunch | GiveUp)
    return outcome


@pytest.fixture
def crew() -> Crew:
    return Crew()


def test_launch_tells_every_task_everybodys_address(crew: Crew) -> None:
    def assign(task: Task, addresses: object) -> Assignment:
        return assignment(task, {"addresses": addresses})

    crew.coordinator.launch(assign)
    assert [(method, task) for method, task, _ in crew.group.told] == [
        ("reserve", W0),
        ("reserve", W1),
        ("start", W0),
        ("start", W1),
    ]
    addresses = {W0: "there:0", W1: "there:1"}
    assert crew.group.told[-1][2] == (assign(W1, addresses),)


def test_ready_when_the_last_task_is(crew: Crew) -> None:
    crew.group.news = script(
        all_in(ReplicaState.STARTING, W0, W1),
        [ReplicaStatus(W0, ReplicaState.READY)],
        [ReplicaStatus(W1, ReplicaState.READY)],
    )
    crew.evaluator.news = script([], all_in(ReplicaState.READY, EVALUATOR))
    crew.coordinator.await_ready(crew.clock.now + 60, crew.listen)
    assert isinstance(crew.coordinator.state, Idle)
    waiting = [len(tick.state.waiting) for tick in crew.ticks if isinstance(tick.state, Launching)]
    assert waiting == [3, 1]
    assert len(crew.ticks) == 3


def test_ready_at_once_even_after_the_deadline(crew: Crew) -> None:
    crew.group.news = lambda: all_in(ReplicaState.READY, W0, W1, EVALUATOR)
    crew.coordinator.await_ready(crew.clock.now - 1, crew.listen)
    crew.coordinator.await_ready(crew.clock.now - 1, crew.listen)
    assert len(crew.ticks) == 2


def test_tasks_that_are_not_ready_in_time_are_named(crew: Crew) -> None:
    crew.group.news = lambda: [ReplicaStatus(W0, ReplicaState.READY), ReplicaStatus(W1, ReplicaState.STARTING)]
    with pytest.raises(ClusterError, match=r"missing: evaluator:0 \(silent\), worker:1 \(starting\)\."):
        crew.coordinator.await_ready(crew.clock.now + 5, crew.listen)
    assert sum(crew.group.waits) < 6


def test_a_task_that_fails_while_launching(crew: Crew) -> None:
    crew.group.news = script(all_in(ReplicaState.STARTING, W0, W1), [failed(W1, FailureKind.ADDRESS_TAKEN)])
    given_up = broken(crew.coordinator.await_ready(crew.clock.now + 60, crew.listen))
    assert given_up.cause.task == W1


def test_a_leg(crew: Crew) -> None:
    plan = LegStarted(RUN, 100, 64, 50)
    crew.group.news = script(
        [training(plan)],
        [training(ready_to_score(50)), training(task=W1)],
        [training(ready_to_score(100, final=True), ended(100))],
    )
    crew.evaluator.news = script([], [], [scored(at(50))], [], [scored(at(100, final=True), 0.7)])
    end = crew.run()
    leg = replace(LEG, number=1)
    assert crew.group.legs == [(W0, leg), (W1, leg)]
    assert crew.group.stops == []
    snapshots = [(task, stamp) for method, task, (stamp, *_) in crew.group.told if method == "take_snapshot"]
    assert snapshots == [(W0, at(50)), (W0, at(100, final=True))]
    # What is handed over is the group's own handle: the snapshot need not pass through the driver.
    assert [handle for _, _, (_, handle) in crew.evaluator.told] == ["take_snapshot of worker:0"] * 2
    assert crew.evaluator.to_score == [at(50), at(100, final=True)]
    assert (end.plan, end.finished, end.stopping) == (plan, ended(100), None)
    assert end.last is not None
    assert end.last.stamp.step == 100
    assert isinstance(crew.coordinator.state, Idle)
    assert isinstance(crew.ticks[-1].state, Over)


def test_two_legs_one_after_another(crew: Crew) -> None:
    for _ in range(2):
        crew.group.news = script([training(ended(100))])
        assert crew.run().finished == ended(100)
    assert len(crew.group.legs) == 4


def test_the_target_stops_every_trainer_once(crew: Crew) -> None:
    crew.group.news = script(
        [training(ready_to_score(10))],
        [],
        [training(ready_to_score(20))],
        [training(ready_to_score(25, final=True), ended(25, "target"))],
    )
    crew.evaluator.news = script([], [scored(at(10), 0.95)], [], [scored(at(20), 0.97)], [scored(at(25, final=True))])
    end = crew.run(TARGET)
    assert crew.group.stops == [(W0, "target"), (W1, "target")]
    assert end.reached is not None
    assert end.reached.stamp == at(10)
    assert end.stopping == "target"


def test_waits_grow_with_the_leg_and_start_short(crew: Crew) -> None:
    news = script(*[[training()]] * 80, [training(ended(1))])
    crew.group.news = news
    crew.run()
    waits = crew.group.waits
    assert waits[0] == SHORTEST_WAIT
    assert waits == sorted(waits)
    assert {wait for age, wait in zip(accumulate(waits), waits, strict=True) if 2 < age < 10} == {LONG_WAIT}
    assert max(waits) == LONGEST_WAIT
    assert set(crew.evaluator.waits) == {0}


def test_waits_grow_with_a_large_group(crew: Crew) -> None:
    tasks = [Task("worker", index) for index in range(100)]
    group = FakeGroup(tasks, crew.clock, script(*[[training()]] * 24, [training(ended(1))]))
    crew.coordinator.renew(group)
    crew.run()
    assert max(group.waits) == 100 * WAIT_PER_TASK


def test_a_snapshot_can_be_gone_back_to_as_soon_as_it_is_told_of(crew: Crew) -> None:
    """Whoever listens may find in the same news that the loss is NaN by now."""
    crew.group.news = script([training(ready_to_score(10))], [training(ended(12))])
    crew.evaluator.news = script([], [scored(at(10))])
    done = []
    diverged = Finding(kind="nan", step=50, symptom="it is")
    crew.coordinator.train(LEG, None, None, lambda _: done.append(crew.coordinator.react(diverged)))
    assert done[0] == "rolled back to step 10"


def test_a_timeout_stops_the_leg(crew: Crew) -> None:
    def news() -> Sequence[ReplicaStatus]:
        if crew.group.stops:
            return [training(ended(7, "timeout"))]
        return [training()]

    crew.group.news = news
    end = crew.run(seconds=3)
    assert crew.group.stops == [(W0, "timeout"), (W1, "timeout")]
    assert end.finished.stopped == "timeout"
    assert sum(crew.group.waits) == pytest.approx(3, abs=2 * LONGEST_WAIT)


def test_tasks_that_do_not_stop_are_given_up(crew: Crew) -> None:
    crew.group.news = lambda: [training()]
    with pytest.raises(ClusterError, match="did not stop within 15 s"):
        crew.run(seconds=3)
    assert crew.group.stops == [(W0, "timeout"), (W1, "timeout")]
    assert sum(crew.group.waits) == pytest.approx(3 + STOP_GRACE_SECONDS, abs=2 * LONGEST_WAIT)


def test_a_timeout_does_not_hide_that_the_target_was_reached(crew: Crew) -> None:
    """The trainers are stopping already: a second reason would take the first one's place."""
    crew.group.news = script([training(ready_to_score(10))], *[[training()]] * 30, [training(ended(12))])
    crew.evaluator.news = script([], [scored(at(10), 0.95)])
    crew.run(TARGET, seconds=2)
    assert crew.group.stops == [(W0, "target"), (W1, "target")]


def test_a_leg_that_is_over_is_not_stopped_while_its_last_score_is_awaited(crew: Crew) -> None:
    end = at(100, final=True)
    crew.group.news = script([training(SnapshotReady(end), ended(100))])
    crew.evaluator.news = script(*[[]] * 30, [scored(end)])
    assert crew.run(seconds=1).last is not None
    assert crew.group.stops == []


def test_the_cause_is_waited_for(crew: Crew) -> None:
    crew.group.news = script(
        [failed(W0, FailureKind.PEER)], [failed(W0, FailureKind.PEER), failed(W1, FailureKind.USER)]
    )
    given_up = crew.breaks()
    assert given_up.cause.task == W1
    assert [failure.task for failure in given_up.failures] == [W0, W1]


def test_a_cause_that_never_comes_is_not_waited_for_long(crew: Crew) -> None:
    crew.group.news = lambda: [failed(W0, FailureKind.PEER)]
    given_up = crew.breaks()
    assert given_up.cause.kind is FailureKind.PEER
    assert sum(crew.group.waits) == pytest.approx(CAUSE_GRACE_SECONDS, abs=0.2)


def test_the_evaluator_failing_breaks_the_group_as_well(crew: Crew) -> None:
    crew.evaluator.news = script([failed(EVALUATOR, FailureKind.SPEC)])
    given_up = crew.breaks()
    assert given_up.cause.task == EVALUATOR


class Simulation:
    """Two workers and an evaluator that do what real ones may do, at random times."""

    def __init__(self, seed: int, *, budget: int, learns_at: int, doomed_at: int | None) -> None:
        self.random = random.Random(seed)
        self.crew = Crew()
        self.crew.group.news = self.leader
        self.crew.evaluator.news = self.evaluate
        self.budget, self.learns_at, self.doomed_at = budget, learns_at, doomed_at
        self.step = self.polls = 0
        self.announced: list[Stamp] = []
        self.sent: list[Evaluation] = []
        self.queue: deque[Stamp] = deque()
        self.is_over = False
        self.failures: dict[Task, TaskFailure] = {}

    def leader(self) -> Sequence[ReplicaStatus]:
        self.polls += 1
        if self.doomed_at is not None and self.polls >= self.doomed_at:
            return self.die()
        if self.is_over or self.random.random() < 0.3:
            return [training(task=W1)]
        stamps = []
        for _ in range(self.random.randrange(3)):
            self.step += self.random.randint(1, 5)
            stamps.append(at(self.step))
        stops = [reason for task, reason in self.crew.group.stops if task == W0]
        over = self.step >= self.budget or bool(stops)
        if over:
            self.is_over = True
            stamps.append(at(self.step, final=True))
        self.announced += stamps
        finish = (ended(self.step, stops[-1] if stops else None),) if over else ()
        statuses = [training(*map(SnapshotReady, stamps), *finish), training(task=W1)]
        self.random.shuffle(statuses)
        return statuses

    def die(self) -> Sequence[ReplicaStatus]:
        """The survivor notices a lost peer; the task that died is heard of before or after, or never."""
        self.failures.setdefault(W1, TaskFailure(W1, FailureKind.PEER, "lost its peer"))
        if self.random.random() < 0.3:
            kind = self.random.choice([FailureKind.USER, FailureKind.INFRASTRUCTURE, FailureKind.PEER])
            self.failures.setdefault(W0, TaskFailure(W0, kind, "why"))
        return [ReplicaStatus(task, ReplicaState.FAILED, failure=failure) for task, failure in self.failures.items()]

    def evaluate(self) -> Sequence[ReplicaStatus]:
        known = len(self.sent) + len(self.queue)
        self.queue.extend(self.crew.evaluator.to_score[known:])
        if not self.queue or self.random.random() < 0.5:
            return []
        evaluations = []
        for _ in range(self.random.randint(1, len(self.queue))):
            stamp = self.queue.popleft()
            accuracy = 0.95 if stamp.step >= self.learns_at else 0.2
            evaluations.append(Evaluation(stamp, {"val_accuracy": accuracy}, 0.1))
        self.sent += evaluations
        return [status(EVALUATOR, *evaluations, state=ReplicaState.READY)]


@given(
    seed=st.integers(0, 2**32),
    budget=st.integers(1, 120),
    learns_at=st.integers(1, 200),
    doomed_at=st.none() | st.integers(1, 40),
    target=st.sampled_from([None, TARGET]),
    seconds=st.none() | st.floats(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_it_ends_and_nothing_is_lost(
    seed: int, budget: int, learns_at: int, doomed_at: int | None, target: MetricTarget | None, seconds: float | None
) -> None:
    simulation = Simulation(seed, budget=budget, learns_at=learns_at, doomed_at=doomed_at)
    crew = simulation.crew
    end = crew.outcome(target, seconds)
    if isinstance(end, Relaunch | GiveUp):
        kinds = {failure.kind for failure in simulation.failures.values()}
        assert (end.cause.kind is FailureKind.PEER) == (kinds == {FailureKind.PEER})
        assert set(end.failures) == set(simulation.failures.values())
        return
    assert isinstance(end, Ended)
    assert crew.evaluator.to_score == simulation.announced
    assert [evaluation.stamp for evaluation in simulation.sent] == simulation.announced
    assert end.last == max(simulation.sent, key=lambda evaluation: evaluation.stamp.step) or (
        end.last is not None and end.last.stamp.final
    )
    heard = [n for tick in crew.ticks for heard in tick.statuses for n in heard.news if isinstance(n, Evaluation)]
    assert heard == simulation.sent
    met = [e for e in simulation.sent if e.stamp.step >= learns_at]
    assert (end.reached is not None) == bool(target and met)
    if end.reached:
        assert end.reached.stamp.step == met[0].stamp.step
    reasons = {reason for _, reason in crew.group.stops}
    assert reasons <= {"target", "timeout"}
    assert end.finished.stopped is None or end.finished.stopped in reasons
    assert not any(isinstance(tick.state, Training) and tick.state.run_id != RUN for tick in crew.ticks)


def assign(task: Task, addresses: object) -> Assignment:
    return assignment(task, {"addresses": addresses})


def test_an_evaluator_that_dies_gets_its_work_again(crew: Crew) -> None:
    crew.evaluator.launch(assign)
    crew.group.news = script(
        [training(ready_to_score(50))],
        [],
        [],
        [training(ready_to_score(100, final=True), ended(100))],
    )
    alive = all_in(ReplicaState.READY, EVALUATOR)
    crew.evaluator.news = script(
        [], [failed(EVALUATOR, FailureKind.INFRASTRUCTURE)], alive, [], [scored(at(50))], [scored(at(100, final=True))]
    )
    crew.run()
    assert crew.evaluator.replaced == [EVALUATOR]
    assert crew.evaluator.to_score == [at(50), at(50), at(100, final=True)]
    told = [failure.task for tick in crew.ticks for failure in tick.replaced]
    assert told == [EVALUATOR]


def test_a_task_that_dies_over_and_over_ends_the_attempt(crew: Crew) -> None:
    crew.evaluator.launch(assign)
    crew.group.news = lambda: all_in(ReplicaState.TRAINING, W0, W1)
    polls = iter(range(10**6))

    def dies_again() -> Sequence[ReplicaStatus]:
        # Every other poll it is there again, having done nothing.
        dead = next(polls) % 2 == 0
        return [failed(EVALUATOR, FailureKind.INFRASTRUCTURE)] if dead else all_in(ReplicaState.READY, EVALUATOR)

    crew.evaluator.news = dies_again
    given_up = crew.breaks()
    assert given_up.cause.task == EVALUATOR
    assert len(crew.evaluator.replaced) == 3


def test_a_leg_is_stopped_by_its_number(crew: Crew) -> None:
    """So that a stop that comes between two legs does not end the wrong one."""
    crew.group.news = lambda: [training(ended(100))]
    crew.run()
    crew.run()
    assert [leg.number for task, leg in crew.group.legs if task == W0] == [1, 2]
    crew.group.news = script([training()], [training(ended(100))])
    crew.run(seconds=-1)
    stops = [arguments for method, _, arguments in crew.group.told if method == "request_stop"]
    assert stops == [("timeout", 3), ("timeout", 3)]


def test_tasks_that_do_nothing_for_being_ready_are_named_and_worth_new_ports(crew: Crew) -> None:
    waits, stopped = Vitals("S", 1.0), Vitals("T", 1.0)
    crew.group.news = lambda: [
        ReplicaStatus(W0, ReplicaState.STARTING, vitals=waits),
        ReplicaStatus(W1, ReplicaState.STARTING, vitals=stopped),
    ]
    crew.evaluator.news = lambda: all_in(ReplicaState.READY, EVALUATOR)
    given_up = broken(crew.coordinator.await_ready(crew.clock.now + 60, crew.listen))
    cause, other = given_up.cause, given_up.failures[1]
    assert (cause.task, cause.kind) == (W1, FailureKind.LATE)
    assert "missing: worker:0 (starting), worker:1 (starting)" in cause.summary
    assert (other.task, other.kind) == (W0, FailureKind.LATE)


def test_a_machine_that_is_wanted_back_while_launching_ends_it(crew: Crew) -> None:
    crew.group.news = lambda: [ReplicaStatus(W0, ReplicaState.STARTING, preempted=True)]
    with pytest.raises(Preempted):
        crew.coordinator.await_ready(crew.clock.now + 60, crew.listen)


def test_what_was_found_out_holds_after_a_restart(crew: Crew) -> None:
    """The target was reached before the group broke: the new one is stopped at once."""
    crew.group.news = script([training(ready_to_score(50))], [], [failed(W1, FailureKind.INFRASTRUCTURE)])
    crew.evaluator.news = script([], [scored(at(50), 0.95)])
    broken(crew.outcome(TARGET))
    group = FakeGroup([W0, W1], crew.clock, script([training()], [training(ended(60, "target"))]))
    crew.coordinator.renew(group)
    end = crew.run(TARGET)
    assert end.reached is not None
    assert end.reached.stamp == at(50)
    assert group.stops == [(W0, "target"), (W1, "target")]
