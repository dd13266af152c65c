"""Workers that share cores, followed event by event, against what is known of them in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.foresight.barrier import makespan, round_seconds
from orchestrator.foresight.queueing import Station, Workers, rates
from orchestrator.foresight.shared_cores import Bound, Free, Quorum, Waiting, follow
from orchestrator.foresight.step_time import FORMULAS, Costs, Where
from workers.modes.traits import Waits
from workers.stragglers import Profile

pytestmark = pytest.mark.unit

RANDOM = np.random.default_rng(7)


def per_step(late: float, work: float, on_core: float, workers: int, cores: float, waiting: Waiting) -> float:
    """Mean seconds of a worker's step if all steps are equal."""
    shape = np.ones((50, workers))
    return follow(late * shape, work * shape, on_core * shape, cores, waiting).seconds(workers)


def test_workers_that_wake_up_together_share_the_cores() -> None:
    assert per_step(0.06, 0.01, 0.01, 8, 2, Free()) == pytest.approx(0.06 + 8 * 0.01 / 2)
    assert per_step(0.06, 0.01, 0.01, 8, 8, Free()) == pytest.approx(0.07)
    assert per_step(0.06, 0.01, 0.01, 2, 2, Free()) == pytest.approx(0.07)


def test_what_needs_no_core_is_not_shared() -> None:
    assert per_step(0.06, 0.03, 0.01, 8, 2, Free()) == pytest.approx(0.06 + 0.02 + 8 * 0.01 / 2)


def test_a_quorum_of_equal_workers_does_not_come_before_the_cores_have_done_the_work_of_all() -> None:
    assert per_step(0.06, 0.01, 0.01, 8, 2, Quorum(7)) == pytest.approx(0.06 + 8 * 0.01 / 2, rel=0.02)


def test_a_quorum_does_without_the_slow_worker() -> None:
    waiting, work = Quorum(3), np.tile([0.01, 0.01, 0.01, 0.08], (300, 1))
    followed = follow(np.full_like(work, 0.001), work, np.zeros_like(work), 4, waiting)
    assert followed.rate == pytest.approx(3 / 0.011 + 1 / 0.081, rel=0.01)
    assert waiting.kept == pytest.approx(3 / 0.011 / followed.rate, rel=0.01)  # none of the slow one's


def test_processor_sharing_with_random_times_is_the_network_of_mean_value_analysis() -> None:
    """Exponential think times and service at a station that shares its processor: a product form (Lazowska, 6)."""
    shape = (1300, 6)
    followed = follow(RANDOM.exponential(0.05, shape), *(2 * [RANDOM.exponential(0.01, shape)]), 1, Free())
    expected = rates([Workers(6, 0.05)], [Station(0.01)]).updates
    assert followed.rate == pytest.approx(expected, rel=0.04)


def test_the_servers_serve_one_at_a_time() -> None:
    late, nothing = np.full((50, 4), 0.01), np.zeros((50, 4))
    followed = follow(late, nothing, nothing, 4, Free(), exchange=0.002)
    assert followed.seconds(4) == pytest.approx(0.012, rel=0.02)  # no longer at once after the first
    full = follow(late, nothing, nothing, 4, Free(), exchange=0.005)
    assert full.rate == pytest.approx(1 / 0.005, rel=0.02)


@pytest.mark.parametrize("call", [1, 5])
def test_none_ahead_is_a_round(call: int) -> None:
    late = RANDOM.exponential(0.01, (100, 6))
    followed = follow(late, np.zeros_like(late), np.zeros_like(late), 6, Bound(6, call, 0))
    seconds = round_seconds(late, call) / call
    assert followed.seconds(6) == pytest.approx(seconds, rel=0.02)


def test_steps_together_on_shared_cores_are_what_their_makespan_says() -> None:
    late, work = RANDOM.exponential(0.02, (200, 6)), np.full((200, 6), 0.01)
    followed = follow(late, work, work, 2, Bound(6, 1, 0))
    assert followed.seconds(6) == pytest.approx(float(makespan(late, work, 2).mean()), rel=0.02)


def test_a_formula_for_workers_that_sleep_counts_those_who_wake_up_together() -> None:
    costs, paced = Costs(np.full(10, 0.01), cpu=0.01, colder=0.2), Profile.parse("lognormal:sigma=0.0001,step=0.06")
    seconds = {waits: FORMULAS[waits](costs, Where(8, 2, paced, number=1)).seconds for waits in ("servers", "quorum")}
    colder = 1.4 * 0.01  # than beside one other worker
    assert seconds["quorum"] == pytest.approx(0.06 + 8 * colder / 2, rel=0.03)  # all begin a version together
    assert 0.07 < seconds["servers"] < 0.95 * seconds["quorum"]  # who comes first is done sooner, and they part


@pytest.mark.parametrize("waits", FORMULAS)
def test_steps_that_only_sleep_take_as_long_as_they_sleep(waits: Waits) -> None:
    paced = Profile.parse("lognormal:sigma=0.0001,step=0.06")
    step = FORMULAS[waits](Costs(np.zeros(1)), Where(4, 2, paced, number=2))
    assert step.seconds == pytest.approx(0.06, rel=0.01)
