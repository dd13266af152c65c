"""The transitions between a worker group's states, and invariants that hold for any sequence of polls."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.control.failure_policy import MACHINES
from orchestrator.control.states import (
    CAUSE_GRACE_SECONDS,
    Broken,
    Completed,
    Effects,
    Failing,
    Idle,
    Launching,
    State,
    Training,
    next_state,
)
from orchestrator.metric_target import MetricTarget
from workers.messages import PREEMPTED, FailureKind, Task, TaskFailure
from workers.news import (
    Evaluation,
    LegFinished,
    LegStarted,
    News,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Stamp,
)

pytestmark = pytest.mark.unit

SPARE = Task("worker", 9)
"""A task without which training continues."""
CHIEF, WORKER, EVALUATOR = Task("chief", 0), Task("worker", 1), Task("evaluator", 0)
RUN = "digits-sync-s0"
TARGET = MetricTarget.parse("val_accuracy>=0.9")


def status(
    task: Task = CHIEF, state: ReplicaState = ReplicaState.TRAINING, *news: News, **fields: Any
) -> ReplicaStatus:
    return ReplicaStatus(task, state, news, **fields)


def leader(*news: News | Stamp, **fields: Any) -> ReplicaStatus:
    """A status of the leader with `news`; a stamp stands for a snapshot that is ready to be scored."""
    sent = tuple(SnapshotReady(item) if isinstance(item, Stamp) else item for item in news)
    return ReplicaStatus(CHIEF, ReplicaState.TRAINING, sent, **fields)


def evaluated(*evaluations: Evaluation) -> ReplicaStatus:
    return ReplicaStatus(EVALUATOR, ReplicaState.READY, evaluations)


def stamp(step: int, *, final: bool = False, run_id: str = RUN) -> Stamp:
    return Stamp(run_id, step, 64 * step, step / 100, final)


def scored(of: Stamp, accuracy: float = 0.5) -> Evaluation:
    return Evaluation(of, {"val_loss": 1.0, "val_accuracy": accuracy}, 0.1)


def finished(step: int = 100, run_id: str = RUN, stopped: str | None = None) -> LegFinished:
    return LegFinished(run_id, step, 64 * step, step / 100, stopped, step)


def failed(task: Task, kind: FailureKind) -> ReplicaStatus:
    return status(task, ReplicaState.FAILED, failure=TaskFailure(task, kind, f"{kind} in {task}"))


def test_launching_waits_for_every_task() -> None:
    state: State = Launching(frozenset({CHIEF, WORKER}))
    state, effects = next_state(state, [status(CHIEF, ReplicaState.READY), status(WORKER, ReplicaState.STARTING)], 0)
    assert isinstance(state, Launching)
    assert (state.waiting, effects) == ({WORKER}, Effects())
    assert next_state(state, [], 0)[0] == state
    assert next_state(state, [status(WORKER, ReplicaState.READY)], 0)[0] == Idle()


def test_a_task_that_fails_while_launching_breaks_the_attempt() -> None:
    state, _ = next_state(Launching(frozenset({CHIEF})), [failed(CHIEF, FailureKind.USER)], 0)
    assert isinstance(state, Broken)


def test_a_leg_from_start_to_end() -> None:
    state: State = Training(RUN)
    plan = LegStarted(RUN, 100, 64, 50)
    state, effects = next_state(state, [leader(plan, stamp(50))], 0)
    assert effects == Effects(score=(stamp(50),))
    state, effects = next_state(state, [leader(stamp(100, final=True), finished())], 0)
    assert effects == Effects(score=(stamp(100, final=True),))
    assert isinstance(state, Training)
    state, _ = next_state(state, [evaluated(scored(stamp(50)))], 0)
    assert isinstance(state, Training)
    last = scored(stamp(100, final=True), 0.8)
    state, _ = next_state(state, [evaluated(last)], 0)
    assert isinstance(state, Completed)
    ended = state.training
    assert (ended.finished, ended.plan, ended.reached, ended.last) == (finished(), plan, None, last)
    assert ended.stopping is None


def test_news_of_another_run_is_ignored() -> None:
    other = stamp(50, run_id="other")
    news = leader(LegStarted("other", 1, 1, 1), other, finished(run_id="other"))
    state, effects = next_state(Training(RUN, TARGET), [news, evaluated(scored(other, 1.0))], 0)
    assert (state, effects) == (Training(RUN, TARGET), Effects())


def test_reaching_the_target_stops_the_leg_once() -> None:
    state: State = Training(RUN, TARGET)
    state, _ = next_state(state, [leader(stamp(50), stamp(60))], 0)
    state, effects = next_state(state, [evaluated(scored(stamp(60), 0.95))], 0)
    assert effects == Effects(stop="target")
    # An earlier snapshot that is scored later takes precedence.
    state, effects = next_state(state, [evaluated(scored(stamp(50), 0.9))], 0)
    assert effects == Effects()
    state, _ = next_state(state, [leader(finished(70, stopped="target"))], 0)
    assert isinstance(state, Completed)
    assert state.training.reached == scored(stamp(50), 0.9)
    assert state.training.last == scored(stamp(60), 0.95)


def test_a_target_reached_by_the_last_snapshot_does_not_stop_the_leg() -> None:
    end = stamp(100, final=True)
    state, _ = next_state(Training(RUN, TARGET), [leader(end, finished())], 0)
    state, effects = next_state(state, [evaluated(scored(end, 1.0))], 0)
    assert effects == Effects()
    assert isinstance(state, Completed)
    assert state.training.reached == scored(end, 1.0)


def test_a_score_may_arrive_in_the_same_poll_as_its_snapshot() -> None:
    news = [evaluated(scored(stamp(50))), leader(stamp(50))]
    state, _ = next_state(Training(RUN), news, 0)
    assert isinstance(state, Training)
    assert state.pending == frozenset()
    assert state.last == scored(stamp(50))


@pytest.mark.parametrize("value", [math.nan, None])
def test_a_missing_or_nan_metric_does_not_reach_the_target(value: float | None) -> None:
    metrics = {} if value is None else {"val_accuracy": value}
    state, _ = next_state(Training(RUN, TARGET), [leader(stamp(50))], 0)
    state, effects = next_state(state, [evaluated(Evaluation(stamp(50), metrics, 0.1))], 0)
    assert effects == Effects()
    assert isinstance(state, Training)
    assert state.reached is None


def test_a_lost_peer_waits_for_the_cause() -> None:
    state: State = Training(RUN)
    state, _ = next_state(state, [failed(CHIEF, FailureKind.PEER)], 10.0)
    assert isinstance(state, Failing)
    state, _ = next_state(state, [], 10.0 + CAUSE_GRACE_SECONDS - 0.01)
    assert isinstance(state, Failing)
    state, _ = next_state(state, [failed(CHIEF, FailureKind.PEER), failed(WORKER, FailureKind.INFRASTRUCTURE)], 12.0)
    assert isinstance(state, Broken)
    assert state.cause.task == WORKER
    assert [failure.task for failure in state.failures] == [CHIEF, WORKER]


def test_a_lost_peer_is_the_cause_if_no_other_becomes_known() -> None:
    state, _ = next_state(Training(RUN), [failed(CHIEF, FailureKind.PEER)], 10.0)
    state, _ = next_state(state, [], 10.0 + CAUSE_GRACE_SECONDS)
    assert isinstance(state, Broken)
    assert state.cause.kind is FailureKind.PEER


def test_an_evaluator_that_fails_is_replaced_while_the_group_continues() -> None:
    state: State = Training(RUN, replaceable=frozenset({EVALUATOR}), scorers=frozenset({EVALUATOR}))
    dead = failed(EVALUATOR, FailureKind.INFRASTRUCTURE)
    assert dead.failure is not None
    state, effects = next_state(state, [dead], 0)
    assert effects == Effects(to_replace=(dead.failure,))
    assert isinstance(state, Training)
    assert next_state(state, [dead], 0) == (state, Effects())  # a failed task repeats its failure until it is replaced
    state, _ = next_state(state, [status(EVALUATOR, ReplicaState.STARTING)], 0)
    state, effects = next_state(state, [dead], 0)
    assert effects == Effects(to_replace=(dead.failure,))


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.SPEC, FailureKind.ADDRESS_TAKEN])
def test_a_failure_that_replacing_does_not_cure_ends_the_attempt(kind: FailureKind) -> None:
    state: State = Training(RUN, replaceable=frozenset({EVALUATOR}), scorers=frozenset({EVALUATOR}))
    state, effects = next_state(state, [failed(EVALUATOR, kind)], 0)
    assert isinstance(state, Broken)
    assert effects == Effects()


def test_launching_waits_for_a_replaced_evaluator() -> None:
    state: State = Launching(frozenset({CHIEF, EVALUATOR}), replaceable=frozenset({EVALUATOR}))
    state, effects = next_state(state, [status(CHIEF, ReplicaState.READY), status(EVALUATOR, ReplicaState.READY)], 0)
    assert isinstance(state, Idle)
    state = Launching(frozenset({CHIEF}), replaceable=frozenset({EVALUATOR}))
    state, effects = next_state(state, [failed(EVALUATOR, FailureKind.HUNG)], 0)
    assert [failure.task for failure in effects.to_replace] == [EVALUATOR]
    assert isinstance(state, Launching)
    assert state.waiting == {CHIEF, EVALUATOR}


def test_a_trainer_that_fails_after_the_last_step_does_not_break_the_attempt() -> None:
    end = stamp(100, final=True)
    state: State = Training(RUN, scorers=frozenset({EVALUATOR}))
    news = [leader(end, finished()), failed(WORKER, FailureKind.INFRASTRUCTURE)]
    state, _ = next_state(state, news, 0)
    assert isinstance(state, Training)
    state, _ = next_state(state, [failed(CHIEF, FailureKind.PEER), evaluated(scored(end))], 0)
    assert isinstance(state, Completed)


def test_a_preempted_leg_ends_without_waiting_for_scores() -> None:
    state: State = Training(RUN)
    state, effects = next_state(state, [leader(stamp(50), preempted=True)], 0)
    assert effects == Effects(score=(stamp(50),), stop=PREEMPTED)
    state, effects = next_state(state, [status(preempted=True)], 0)
    assert effects == Effects()
    state, _ = next_state(state, [leader(finished(60, stopped=PREEMPTED))], 0)
    assert isinstance(state, Completed)


def test_the_final_snapshot_is_the_last_one_even_if_an_earlier_attempt_got_further() -> None:
    state: State = Training(RUN, pending=frozenset({stamp(90)}))
    end = stamp(60, final=True)
    news = [leader(end, finished(60, stopped="timeout"))]
    state, _ = next_state(state, news, 0)
    state, _ = next_state(state, [evaluated(scored(end), scored(stamp(90)))], 0)
    assert isinstance(state, Completed)
    assert state.training.last == scored(end)


def test_the_likeliest_cause_comes_first() -> None:
    kinds = [FailureKind.PEER, FailureKind.INFRASTRUCTURE, FailureKind.ADDRESS_TAKEN, FailureKind.USER]
    state, _ = next_state(Idle(), [failed(Task("worker", i), kind) for i, kind in enumerate(kinds)], 0)
    assert isinstance(state, Broken)
    assert state.cause.kind is FailureKind.USER
    assert len(state.failures) == 4


@pytest.mark.parametrize(
    "state",
    [Completed(Training(RUN, finished=finished())), Broken(TaskFailure(CHIEF, FailureKind.USER, "why")), Idle()],
)
def test_final_states_do_not_change(state: State) -> None:
    news = leader(stamp(50), finished())
    assert next_state(state, [news], 0) == (state, Effects())
    if not isinstance(state, Idle):
        assert next_state(state, [failed(CHIEF, FailureKind.USER)], 0) == (state, Effects())


def test_a_state_is_never_changed_in_place() -> None:
    state = Training(RUN, TARGET)
    before = replace(state)
    next_state(state, [leader(stamp(50), finished())], 0)
    assert state == before


class AnyLeg(RuleBasedStateMachine):
    """A leader, an evaluator and failing tasks, whose reports arrive in any possible order."""

    @initialize(chosen=st.sampled_from([None, TARGET]))
    def begin(self, chosen: MetricTarget | None) -> None:
        needed = frozenset({EVALUATOR})
        self.state: State = Training(RUN, chosen, replaceable=needed | {SPARE}, scorers=needed)
        self.target = chosen
        self.down: set[Task] = set()
        self.effects: list[Effects] = []
        self.now = 0.0
        self.step = 0
        self.announced: list[Stamp] = []
        self.unscored: list[Stamp] = []
        self.evaluations: list[Evaluation] = []
        self.finished = False
        self.failures: dict[Task, TaskFailure] = {}
        self.first_failure: float | None = None

    def poll(self, *news: ReplicaStatus) -> None:
        before = self.state
        for failure in self.failures.values():  # a replica repeats its failure at every poll
            news = (*news, status(failure.task, ReplicaState.FAILED, failure=failure))
        self.state, effects = next_state(self.state, news, self.now)
        self.effects.append(effects)
        for failure in effects.to_replace:
            assert isinstance(before, Training)
            assert failure.task not in self.down or failure.kind is FailureKind.HUNG, "a replacement is ordered once"
        self.unscored += effects.score

    @precondition(lambda self: not self.finished)
    @rule(steps=st.integers(1, 50), ends=st.booleans(), count=st.integers(1, 3))
    def leader_trains(self, steps: int, ends: bool, count: int) -> None:
        stamps = []
        for _ in range(count):
            self.step += steps
            stamps.append(stamp(self.step))
        if ends:
            stamps.append(stamp(self.step, final=True))
            self.finished = True
        if isinstance(self.state, Training):
            self.announced += stamps
        self.poll(leader(*stamps, *([finished(self.step)] if ends else [])))

    @precondition(lambda self: bool(self.unscored))
    @rule(accuracies=st.lists(st.sampled_from([0.1, 0.9, 1.0, math.nan]), min_size=1, max_size=3))
    def evaluator_scores(self, accuracies: list[float]) -> None:
        evaluations = [scored(self.unscored.pop(0), accuracy) for accuracy in accuracies if self.unscored]
        self.down.discard(EVALUATOR)
        if isinstance(self.state, Training):
            self.evaluations += evaluations
        self.poll(evaluated(*evaluations))

    @rule(
        index=st.integers(0, 2),
        kind=st.sampled_from([FailureKind.PEER, FailureKind.PEER, *FailureKind]),
    )
    def a_task_fails(self, index: int, kind: FailureKind) -> None:
        task = Task("worker", index)
        if isinstance(self.state, Training | Failing) and task not in self.failures:
            self.failures[task] = TaskFailure(task, kind, "why")
            if self.first_failure is None and not self.finished:
                self.first_failure = self.now
            self.poll()

    @rule(task=st.sampled_from([EVALUATOR, SPARE]), kind=st.sampled_from(sorted(MACHINES)))
    def a_replaceable_task_fails(self, task: Task, kind: FailureKind) -> None:
        self.poll(status(task, ReplicaState.FAILED, failure=TaskFailure(task, kind, "why")))
        if task is EVALUATOR or not self.finished:
            self.down.add(task)

    @rule(task=st.sampled_from([EVALUATOR, SPARE]))
    def a_replaced_task_is_ready(self, task: Task) -> None:
        self.down.discard(task)
        self.poll(status(task, ReplicaState.READY))

    @rule(seconds=st.floats(0, 2))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.poll()

    @invariant()
    def every_snapshot_is_sent_to_the_evaluator_once(self) -> None:
        sent = [stamp for effects in self.effects for stamp in effects.score]
        assert sent == self.announced

    @invariant()
    def no_evaluation_is_lost(self) -> None:
        if isinstance(self.state, Training | Completed) and self.evaluations:
            leg = self.state if isinstance(self.state, Training) else self.state.training
            assert leg.last is not None
            assert leg.last.stamp.step == max(e.stamp.step for e in self.evaluations)
            met = [e for e in self.evaluations if self.target and self.target.met_by(e.metrics["val_accuracy"])]
            assert (leg.reached is None) == (not met)
            if leg.reached:
                assert leg.reached.stamp.step == min(e.stamp.step for e in met)

    @invariant()
    def the_leg_is_completed_once_all_snapshots_are_scored(self) -> None:
        if isinstance(self.state, Completed):
            assert self.finished
            assert not self.unscored
            assert {e.stamp for e in self.evaluations} == set(self.announced)
        if isinstance(self.state, Training):
            assert not (self.finished and not self.unscored)
            assert self.state.pending == frozenset(self.unscored)

    @invariant()
    def a_leg_is_stopped_at_most_once_and_only_with_a_target(self) -> None:
        stops = [effects.stop for effects in self.effects if effects.stop]
        assert len(stops) <= 1
        if stops:
            assert self.target is not None

    @invariant()
    def a_failure_breaks_the_attempt_soon_and_names_its_cause(self) -> None:
        if self.first_failure is None:
            assert not isinstance(self.state, Failing | Broken)
            return
        assert isinstance(self.state, Failing | Broken)
        causes = {failure.kind for failure in self.failures.values()} - {FailureKind.PEER}
        if isinstance(self.state, Failing):
            assert not causes
            assert self.now - self.first_failure < CAUSE_GRACE_SECONDS
        else:
            assert self.state.cause in self.state.failures
            assert (self.state.cause.kind is FailureKind.PEER) == (not causes)
            tasks = [failure.task for failure in self.state.failures]
            assert len(set(tasks)) == len(tasks)


TestAnyLeg = AnyLeg.TestCase
TestAnyLeg.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
