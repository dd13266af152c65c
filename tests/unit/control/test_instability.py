"""Reactions to an unstable loss, and the choice of the snapshot to roll back to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control import events, orders
from orchestrator.control.machine import Machine, Rules
from orchestrator.control.recent_snapshots import MARGIN, RecentSnapshots
from orchestrator.control.rollback import reaction, stop_reason
from orchestrator.metric_target import MetricTarget
from orchestrator.monitor.advice import ADVICE
from orchestrator.results import Finding
from tests.made import status
from workers.messages import ROLLBACK, FailureKind, Start, Task, TaskFailure
from workers.news import Evaluation, LegFinished, LegStarted, ReplicaState, SnapshotReady, Stamp

pytestmark = pytest.mark.unit

W0, EVALUATOR = Task("worker", 0), Task("evaluator", 0)
NOTHING = {"recovery": 0.0}


def finding(kind: str = "nan", step: int | None = 400, clock: float | None = 4.0) -> Finding:
    return Finding(kind=kind, step=step, clock=clock, symptom="it is")


def stamp(step: int) -> Stamp:
    return Stamp("r", step, 64 * step, step / 100)


class Leg:
    """A leg that trains, and the orders that the machine gives."""

    def __init__(self, policy: Any, *steps: int) -> None:
        self.machine = Machine(Rules())
        self.now = 100.0
        self.machine.advance(events.Launched((W0,), (EVALUATOR,)), self.now)
        self.machine.advance(events.RunBegan("r", policy), self.now)
        self.stops: list[str] = []
        self.begin()
        for step in steps:
            self.machine.advance(events.SnapshotSent(stamp(step), f"snapshot {step}"), self.now)

    def begin(self) -> None:
        self.machine.advance(events.LegOrdered("r"), self.now)

    def react(self, found: Finding) -> str:
        decided = self.machine.advance(events.FindingMade(found), self.now)
        self.stops += [order.reason for order in decided if isinstance(order, orders.StopLeg)]
        (action,) = (order.action for order in decided if isinstance(order, orders.ActionTaken))
        return action

    def ends(self, seconds: float, *scores: Evaluation, stopped: str | None = ROLLBACK) -> orders.Order:
        """End the leg at `seconds` of the run's clock; returns the outcome."""
        finished = LegFinished("r", 500, 32_000, seconds, stopped, 500)
        statuses = [status(W0, *(SnapshotReady(score.stamp) for score in scores), finished), status(EVALUATOR, *scores)]
        return self.machine.advance(events.Polled(statuses), self.now)[-1]


@pytest.mark.parametrize("kind", sorted(ADVICE))
def test_only_nan_and_divergence_cause_a_reaction(kind: str) -> None:
    unstable = kind in ("nan", "divergence")
    for policy in ("warn", "stop", "rollback"):
        done = reaction(policy, finding(kind), rolled_back=False)  # type: ignore[arg-type]
        assert done == (policy if unstable else "warn")
    assert reaction("rollback", finding(kind), rolled_back=True) == ("stop" if unstable else "warn")


def test_a_stop_reason_names_the_finding() -> None:
    assert stop_reason(finding("divergence", 812)) == "divergence at step 812"
    assert stop_reason(finding("nan", None)) == "nan"


def test_the_stop_policy_stops_the_leg() -> None:
    leg = Leg("stop", 60, 120)
    assert leg.react(finding("spike")) == "warned"
    assert leg.react(finding()) == "stopped"
    assert leg.stops == ["nan at step 400"]
    ended = leg.ends(5.0, stopped="nan at step 400")
    assert isinstance(ended, orders.Ended)
    assert ended.unstable


def test_the_warn_policy_does_not_stop_the_leg() -> None:
    leg = Leg("warn", 60)
    assert leg.react(finding()) == "warned"
    assert leg.stops == []


@pytest.mark.parametrize("policy", ["stop", "rollback"])
def test_a_leg_that_ended_cannot_be_stopped(policy: str) -> None:
    leg = Leg(policy, 60)
    ended = leg.ends(5.0, stopped=None)
    assert isinstance(ended, orders.Ended)
    assert not ended.unstable
    assert leg.react(finding()) == "warned"
    assert leg.stops == []


def test_rollback_once_and_then_stop() -> None:
    leg = Leg("rollback", 60, 180, 300, 390)
    assert leg.react(finding("divergence", 400)) == "rolled back to step 180"
    assert leg.stops == [ROLLBACK]
    assert leg.ends(5.0) == orders.RollBack(Start(180, 64 * 180, 5.0, 0.5, 0.5, spent=NOTHING), "snapshot 180")
    leg.begin()
    assert leg.react(finding("nan", 700)) == "stopped"
    assert leg.stops[1:] == ["nan at step 700"]
    assert isinstance(leg.ends(9.0, stopped="nan at step 700"), orders.Ended)


def test_the_clock_continues_during_a_rollback() -> None:
    leg = Leg("rollback", 60)
    leg.machine.advance(events.Polled([status(W0, LegStarted("r", 500, 64, 100))]), leg.now)
    leg.now += 4.0
    leg.react(finding(clock=4.0))
    leg.now += 7.0
    again = leg.ends(5.0)
    assert isinstance(again, orders.RollBack)
    assert again.start.clock == pytest.approx(4.0 + 7.0)
    assert again.start.spent == {"recovery": pytest.approx(11.0 - 5.0)}


def test_without_a_good_snapshot_training_restarts_from_step_0() -> None:
    leg = Leg("rollback", 390)
    assert leg.react(finding("nan", 400)) == "rolled back to step 0"
    assert leg.ends(5.0) == orders.RollBack(Start(0, 0, 5.0, 0.5, 0.5, spent=NOTHING), None)


def test_a_run_that_reaches_its_target_during_a_rollback_has_ended() -> None:
    leg = Leg("rollback", 60)
    leg.machine.advance(events.LegOrdered("r", MetricTarget.parse("val_accuracy>=0.9")), leg.now)
    leg.react(finding())
    ended = leg.ends(5.0, Evaluation(stamp(60), {"val_accuracy": 0.99}, 0.1))
    assert isinstance(ended, orders.Ended)
    assert ended.reason == "target"


def test_a_rollback_outlives_an_attempt_that_breaks_before_it() -> None:
    leg = Leg("rollback", 60)
    leg.machine.advance(events.Polled([status(W0, LegStarted("r", 500, 64, 100))]), leg.now)
    leg.now += 4.0
    leg.react(finding("nan", 400, 4.0))
    dead = status(W0, state=ReplicaState.FAILED, failure=TaskFailure(W0, FailureKind.INFRASTRUCTURE, "was killed"))
    again = leg.machine.advance(events.Polled([dead]), leg.now)[-1]
    assert isinstance(again, orders.Relaunch)
    assert again.rollback == orders.RollBack(Start(60, 64 * 60, 4.0, 0.5, 0.5, spent={"recovery": 4.0}), "snapshot 60")


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200))
def test_a_few_snapshots_are_kept_and_one_is_always_old_enough(gaps: list[int]) -> None:
    recent: RecentSnapshots[int] = RecentSnapshots()
    steps: list[int] = []
    for gap in gaps:
        steps.append((steps[-1] if steps else 0) + gap)
        recent.add(stamp(steps[-1]), steps[-1])
        recent.forget()
        assert len(recent) <= 5
        for kind, margin in MARGIN.items():
            good = [step for step in steps if step <= steps[-1] - margin]
            kept = recent.before(finding(kind, steps[-1]))
            assert (kept is not None) == bool(good)
            if kept is not None:
                assert kept[0].step == kept[1] in good
                assert kept[1] > good[-1] - 128, "it is not much older than necessary"


def test_a_new_leg_forgets_the_snapshots_of_the_one_before() -> None:
    recent: RecentSnapshots[int] = RecentSnapshots()
    recent.add(stamp(10), 10)
    recent.clear()
    assert recent.before(finding(step=1000)) is None


def test_snapshots_from_after_the_finding_do_not_displace_a_good_one() -> None:
    """A fast run reports several snapshots in one poll, some of which are from after the instability."""
    recent: RecentSnapshots[int] = RecentSnapshots()
    for step in (76, 200, 312, 380, 433, 498):
        recent.add(stamp(step), step)
    found = recent.before(finding("divergence", 376))
    assert found is not None
    assert found[1] == 200
