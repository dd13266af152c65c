"""What is done about a finding, and which snapshot a run goes back to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control.recent_snapshots import MARGIN, RecentSnapshots, named, reaction
from orchestrator.control.rollback import Guard
from orchestrator.control.states import Ended
from orchestrator.monitor.advice import ADVICE
from orchestrator.results import Finding
from workers.messages import ROLLBACK, Evaluation, Leg, LegFinished, Stamp, Start

pytestmark = pytest.mark.unit

LEG = Leg("r", 0, 6400, None, None, None)


def finding(kind: str = "nan", step: int | None = 400, clock: float | None = 4.0) -> Finding:
    return Finding(kind=kind, step=step, clock=clock, symptom="it is")


def stamp(step: int) -> Stamp:
    return Stamp("r", step, 64 * step, step / 100)


class FakeCoordinator:
    """Remembers what it was told."""

    def __init__(self, *steps: int, training: bool = True) -> None:
        self.snapshots: RecentSnapshots[str] = RecentSnapshots()
        for step in steps:
            self.snapshots.add(stamp(step), f"snapshot {step}")
        self.training = training
        self.stopped: list[str] = []

    def stop(self, reason: str) -> bool:
        if self.training:
            self.stopped.append(reason)
        return self.training


def guard(policy: Any, coordinator: FakeCoordinator, now: float = 100.0) -> Guard:
    return Guard(policy, coordinator, clock=lambda: now)  # type: ignore[arg-type]


def ended(seconds: float, reached: Evaluation | None = None) -> Ended:
    return Ended(LegFinished("r", 500, 32_000, seconds, ROLLBACK, 500), None, reached, None, ROLLBACK)


@pytest.mark.parametrize("kind", sorted(ADVICE))
def test_only_what_does_not_come_back_is_acted_upon(kind: str) -> None:
    unstable = kind in ("nan", "divergence")
    for policy in ("warn", "stop", "rollback"):
        done = reaction(policy, finding(kind), rolled_back=False)  # type: ignore[arg-type]
        assert done == (policy if unstable else "warn")
    assert reaction("rollback", finding(kind), rolled_back=True) == ("stop" if unstable else "warn")


def test_a_stop_reason_names_the_finding() -> None:
    assert named(finding("divergence", 812)) == "divergence at step 812"
    assert named(finding("nan", None)) == "nan"


def test_stop() -> None:
    coordinator = FakeCoordinator(60, 120)
    acting = guard("stop", coordinator)
    assert acting.react(finding("spike")) == "warned"
    assert acting.react(finding()) == "stopped"
    assert acting.stopped == coordinator.stopped[0] == "nan at step 400"
    assert acting.resumed(LEG, ended(5.0)) is None


def test_warn_stops_nothing() -> None:
    coordinator = FakeCoordinator(60)
    assert guard("warn", coordinator).react(finding()) == "warned"
    assert coordinator.stopped == []


def test_a_leg_that_is_over_cannot_be_stopped() -> None:
    for policy in ("stop", "rollback"):
        acting = guard(policy, FakeCoordinator(60, training=False))
        assert acting.react(finding()) == "warned"
        assert acting.stopped is None
        assert acting.resumed(LEG, ended(5.0)) is None


def test_rollback_once_and_then_stop() -> None:
    coordinator = FakeCoordinator(60, 180, 300, 390)
    acting = guard("rollback", coordinator)
    assert acting.react(finding("divergence", 400)) == "rolled back to step 180"
    assert coordinator.stopped == [ROLLBACK]
    again = acting.resumed(LEG, ended(5.0))
    assert again is not None
    leg, snapshot = again
    assert snapshot == "snapshot 180"
    assert leg.start == Start(180, 64 * 180, 5.0, 0.5, 0.5)
    assert acting.resumed(leg, ended(9.0)) is None
    assert acting.react(finding("nan", 700)) == "stopped"
    assert coordinator.stopped[1:] == ["nan at step 700"]


def test_the_training_clock_goes_on_while_a_run_is_put_back() -> None:
    times = iter([100.0, 107.0])
    acting = Guard("rollback", FakeCoordinator(60), clock=lambda: next(times))  # type: ignore[arg-type]
    acting.react(finding(clock=4.0))
    again = acting.resumed(LEG, ended(5.0))
    assert again is not None
    assert again[0].start is not None
    assert again[0].start.clock == pytest.approx(4.0 + 7.0)


def test_without_a_good_snapshot_training_begins_anew() -> None:
    acting = guard("rollback", FakeCoordinator(390))
    assert acting.react(finding("nan", 400)) == "rolled back to step 0"
    again = acting.resumed(LEG, ended(5.0))
    assert again is not None
    assert again[1] is None
    assert again[0].start == Start(0, 0, 5.0, 0.5, 0.5)


def test_a_run_that_reached_its_target_meanwhile_is_over() -> None:
    acting = guard("rollback", FakeCoordinator(60))
    acting.react(finding())
    reached = Evaluation(stamp(60), {"val_accuracy": 0.99}, 0.1)
    assert acting.resumed(LEG, ended(5.0, reached)) is None


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
                assert kept[1] > good[-1] - 128, "nor is it much older than it has to be"


def test_a_new_leg_forgets_the_snapshots_of_the_one_before() -> None:
    recent: RecentSnapshots[int] = RecentSnapshots()
    recent.add(stamp(10), 10)
    recent.clear()
    assert recent.before(finding(step=1000)) is None


def test_snapshots_that_came_with_the_finding_push_no_good_one_out() -> None:
    """A fast run tells of several in one poll, those from after the trouble among them."""
    recent: RecentSnapshots[int] = RecentSnapshots()
    for step in (76, 200, 312, 380, 433, 498):
        recent.add(stamp(step), step)
    found = recent.before(finding("divergence", 376))
    assert found is not None
    assert found[1] == 200
