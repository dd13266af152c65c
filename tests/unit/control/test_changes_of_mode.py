"""A leg that ends to be continued in another mode: what the next leg inherits."""

from __future__ import annotations

import pytest

from tests.unit.control.fake_group import FakeGroup, script
from tests.unit.control.harness import TARGET, W0, W1, Harness, at, ended, ready_to_score, scored, training
from workers.messages import INTERRUPTED, RESIZED, SWITCHED, Task
from workers.modes.registry import MODES
from workers.news import ReplicaStatus

pytestmark = pytest.mark.unit

CHIEF = Task("chief", 0)


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_another_group_of_another_mode_continues(harness: Harness) -> None:
    harness.group.news = script([training(ready_to_score(40))], [training(ended(50, SWITCHED))])
    harness.evaluator.news = script([], [scored(at(40), 0.5)])
    end = harness.run(TARGET)
    assert end.switches
    assert not end.is_over
    second = FakeGroup([CHIEF, W0, W1], harness.clock, script([], [training(ended(90), task=CHIEF)]))
    harness.coordinator.renew(second, MODES["async"])
    last = harness.run(TARGET)
    assert [task for task, _ in second.legs] == [CHIEF]
    assert (last.reason, last.finished.steps, last.stopping) == ("budget", 90, None)
    assert last.last is not None
    assert last.last.stamp == at(40)  # what was scored before the change counts on


def test_a_target_met_by_the_last_snapshot_before_the_change_ends_the_next_leg_at_once(harness: Harness) -> None:
    harness.group.news = script(
        [training(ready_to_score(50), ended(50, SWITCHED))], [], [training(ended(50, "target"))]
    )
    harness.evaluator.news = script([], [scored(at(50), 0.95)])
    end = harness.run(TARGET)
    assert end.switches
    assert end.is_over
    last = harness.run(TARGET)
    assert harness.group.stops == [(W0, "target"), (W1, "target")]
    assert (last.reason, last.reached and last.reached.stamp) == ("target", at(50))


def test_a_stop_that_comes_after_the_last_call_is_for_the_next_leg(harness: Harness) -> None:
    def news() -> list[ReplicaStatus]:
        harness.coordinator.stop(INTERRUPTED)
        return [training(ended(50, SWITCHED))]

    harness.group.news = news
    end = harness.run()
    assert end.is_over
    harness.group.told.clear()
    harness.group.news = script([training(ended(50, INTERRUPTED))])
    assert harness.run().reason == INTERRUPTED
    assert harness.group.stops == [(W0, INTERRUPTED), (W1, INTERRUPTED)]


def test_more_workers_that_come_after_the_last_call_are_for_the_next_group(harness: Harness) -> None:
    def news() -> list[ReplicaStatus]:
        harness.coordinator.stop(RESIZED)
        return [training(ended(50, SWITCHED))]

    harness.group.news = news
    assert not harness.run().is_over
    harness.group.told.clear()
    harness.group.news = script([training(ended(90))])
    assert harness.run().reason == "budget"
    assert harness.group.stops == []


def test_nothing_is_left_to_the_next_run(harness: Harness) -> None:
    harness.group.news = script([training(ended(50, "target"))])
    harness.run(TARGET)
    harness.group.news = script([training(ended(60))])
    assert harness.run(TARGET).stopping is None
