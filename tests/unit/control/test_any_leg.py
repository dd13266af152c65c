"""Legs of simulated tasks with random timing: every leg ends, and no score is lost."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.orders import Ended, GiveUp, Relaunch
from orchestrator.control.states import Training
from orchestrator.metric_target import MetricTarget
from orchestrator.plan.topology import EVALUATOR
from tests.made import status
from tests.unit.control.harness import (
    RUN,
    TARGET,
    W0,
    W1,
    Harness,
    at,
    ended,
    training,
)
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import (
    Evaluation,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Stamp,
)


class Simulation:
    """Two workers and an evaluator that behave as real ones may, at random times."""

    def __init__(self, seed: int, *, budget: int, learns_at: int, doomed_at: int | None) -> None:
        self.random = random.Random(seed)
        self.harness = Harness()
        self.harness.group.news = self.leader
        self.harness.evaluator.news = self.evaluate
        self.budget, self.learns_at, self.doomed_at = budget, learns_at, doomed_at
        self.step = self.polls = 0
        self.announced: list[Stamp] = []
        self.sent: list[Evaluation] = []
        self.queue: deque[Stamp] = deque()
        self.ended = False
        self.failures: dict[Task, TaskFailure] = {}

    def leader(self) -> Sequence[ReplicaStatus]:
        self.polls += 1
        if self.doomed_at is not None and self.polls >= self.doomed_at:
            return self.die()
        if self.ended or self.random.random() < 0.3:
            return [training(task=W1)]
        stamps = []
        for _ in range(self.random.randrange(3)):
            self.step += self.random.randint(1, 5)
            stamps.append(at(self.step))
        stops = [reason for task, reason in self.harness.group.stops if task == W0]
        ends = self.step >= self.budget or bool(stops)
        if ends:
            self.ended = True
            stamps.append(at(self.step, final=True))
        self.announced += stamps
        finish = (ended(self.step, stops[-1] if stops else None),) if ends else ()
        statuses = [training(*map(SnapshotReady, stamps), *finish), training(task=W1)]
        self.random.shuffle(statuses)
        return statuses

    def die(self) -> Sequence[ReplicaStatus]:
        """The survivor reports a lost peer; the task that died reports before, after, or never."""
        self.failures.setdefault(W1, TaskFailure(W1, FailureKind.PEER, "lost its peer"))
        if self.random.random() < 0.3:
            kind = self.random.choice([FailureKind.USER, FailureKind.INFRASTRUCTURE, FailureKind.PEER])
            self.failures.setdefault(W0, TaskFailure(W0, kind, "why"))
        return [ReplicaStatus(task, ReplicaState.FAILED, failure=failure) for task, failure in self.failures.items()]

    def evaluate(self) -> Sequence[ReplicaStatus]:
        known = len(self.sent) + len(self.queue)
        self.queue.extend(self.harness.evaluator.to_score[known:])
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
def test_every_leg_ends_and_no_score_is_lost(
    seed: int, budget: int, learns_at: int, doomed_at: int | None, target: MetricTarget | None, seconds: float | None
) -> None:
    simulation = Simulation(seed, budget=budget, learns_at=learns_at, doomed_at=doomed_at)
    harness = simulation.harness
    end = harness.outcome(target, seconds)
    if isinstance(end, Relaunch | GiveUp):
        kinds = {failure.kind for failure in simulation.failures.values()}
        assert (end.cause.kind is FailureKind.PEER) == (kinds == {FailureKind.PEER})
        assert set(end.failures) == set(simulation.failures.values())
        return
    assert isinstance(end, Ended)
    assert harness.evaluator.to_score == simulation.announced
    assert [evaluation.stamp for evaluation in simulation.sent] == simulation.announced
    assert end.last == max(simulation.sent, key=lambda evaluation: evaluation.stamp.step) or (
        end.last is not None and end.last.stamp.final
    )
    reported = [n for tick in harness.ticks for each in tick.statuses for n in each.news if isinstance(n, Evaluation)]
    assert reported == simulation.sent
    met = [e for e in simulation.sent if e.stamp.step >= learns_at]
    assert (end.reached is not None) == bool(target and met)
    if end.reached:
        assert end.reached.stamp.step == met[0].stamp.step
    reasons = {reason for _, reason in harness.group.stops}
    assert reasons <= {"target", "timeout"}
    assert end.finished.stopped is None or end.finished.stopped in reasons
    assert not any(isinstance(tick.state, Training) and tick.state.run_id != RUN for tick in harness.ticks)
