"""A coordinator over simulated tasks, and short names for what these report."""

from __future__ import annotations

from orchestrator.control import events
from orchestrator.control.coordinator import (
    Coordinator,
    Tick,
)
from orchestrator.control.machine import Machine, Rules
from orchestrator.control.orders import Ended, GiveUp, Outcome, Relaunch
from orchestrator.metric_target import MetricTarget
from orchestrator.plan.topology import EVALUATOR
from tests.made import leg, status
from tests.unit.control.fake_group import FakeClock, FakeGroup
from workers.messages import FailureKind, Task, TaskFailure
from workers.modes.registry import MODES
from workers.news import (
    Evaluation,
    LegFinished,
    News,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Stamp,
)

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


class Harness:
    """A coordinator of two workers and an evaluator, and the ticks that its listener received."""

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
