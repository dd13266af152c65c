"""The simulator against closed forms, and its speed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from orchestrator.foresight.barrier import expected_slowest
from orchestrator.foresight.simulator import alone, queueing, together
from orchestrator.foresight.steps import StepTimes
from tests.marked import slow
from workers.stragglers import Pace, Profile

pytestmark = pytest.mark.unit

NONE = Profile.parse("none")


def times(workers: int, *work: float, profile: str = "none", seed: int = 0) -> StepTimes:
    return StepTimes([np.array([seconds]) for seconds in work or (0.01,)], Profile.parse(profile), seed, workers)


def test_one_process_takes_the_sum_of_its_steps() -> None:
    assert alone(times(1), 100, 9.0).seconds == pytest.approx(1.0)


def test_together_every_step_takes_as_long_as_the_slowest_worker() -> None:
    found = together(times(4, 0.01, 0.01, 0.03, 0.02), 1000, 0.005)
    assert found.seconds == pytest.approx(1000 * 0.035)
    assert found.batches == 4000
    assert found.waiting == pytest.approx(1 - (0.07 / 4) / 0.035)


@pytest.mark.parametrize(
    "profile", ["persistent:worker=1,factor=4", "transient:p=0.05,factor=10", "lognormal:sigma=0.5"]
)
def test_sleeps_are_those_of_real_workers(profile: str) -> None:
    parsed = Profile.parse(profile)
    drawn = [[Pace(parsed, 7, worker).seconds() for _ in range(1)] for worker in range(3)]
    found = together(times(3, 0.0, profile=profile, seed=7), 1, 0.0)
    assert found.seconds == pytest.approx(max(sleep for (sleep,) in drawn))
    paces = [Pace(parsed, 7, worker) for worker in range(3)]
    longest = sum(max(pace.seconds() for pace in paces) for _ in range(1500))
    assert together(times(3, 0.0, profile=profile, seed=7), 1500, 0.0).seconds == pytest.approx(longest)


def test_a_free_server_delays_no_worker() -> None:
    found = queueing(times(1, 0.01), 1000, 0.002)
    assert found.seconds == pytest.approx(1000 * 0.012)
    assert found.staleness == 0


def test_a_busy_server_sets_the_rate() -> None:
    found = queueing(times(8, 0.01), 1000, 0.005)
    assert found.updates / found.seconds == pytest.approx(1 / 0.005, rel=0.01)
    assert found.staleness == pytest.approx(7, rel=0.01)  # each worker's turn comes after all others


def test_fast_workers_do_not_wait_for_a_slow_one() -> None:
    found = queueing(times(4, 0.01, 0.01, 0.01, 0.1), 2000, 1e-6)
    assert found.batches / found.seconds == pytest.approx(3 / 0.01 + 1 / 0.1, rel=0.01)


def one_event_at_a_time(own: StepTimes, steps: int, exchange: float) -> tuple[float, float]:
    """Seconds and mean staleness of the same network, served one visit after the other."""
    workers = own.workers
    sleeps = [list(own.sleeps(worker, steps * workers)) for worker in range(workers)]
    work = [list(own.work(worker, steps * workers)) for worker in range(workers)]
    reads = [sleeps[worker].pop(0) for worker in range(workers)]
    visits = [reads[worker] + work[worker].pop(0) for worker in range(workers)]
    left, free, stale = list[float](), 0.0, list[int]()
    for count in range(steps * workers):
        worker = int(np.argmin(visits))
        free = max(visits[worker], free) + exchange
        stale.append(count - sum(before <= reads[worker] for before in left))
        left.append(free)
        reads[worker] = free + sleeps[worker].pop(0)
        visits[worker] = reads[worker] + work[worker].pop(0)
    return free, float(np.mean(stale))


@pytest.mark.parametrize("exchange", [1e-4, 2.3e-3, 1.13e-2])
@pytest.mark.parametrize("profile", ["none", "transient:p=0.1,factor=5", "lognormal:sigma=1"])
def test_rounds_give_what_single_events_give(profile: str, exchange: float) -> None:
    def made() -> StepTimes:
        return times(5, 0.00317, 0.00411, 0.00733, 0.00291, 0.00557, profile=profile, seed=3)  # without ties

    seconds, staleness = one_event_at_a_time(made(), 60, exchange)
    found = queueing(made(), 60, exchange)
    assert found.seconds == pytest.approx(seconds)
    assert found.staleness == pytest.approx(staleness, abs=0.01)  # a read and an update may coincide


def test_expected_slowest_agrees_with_the_simulator() -> None:
    sample = np.random.default_rng(0).gamma(4, 0.01, 4000)
    for workers in (1, 2, 8, 64):
        simulated = together(StepTimes([sample], NONE, 1, workers), 4000, 0.0).seconds / 4000
        assert expected_slowest([sample], [workers]) == pytest.approx(simulated, rel=0.02)


@pytest.mark.parametrize("steps", [1000, slow(10_000)])
@pytest.mark.parametrize("simulate", [together, queueing])
def test_a_thousand_workers_take_seconds(simulate: object, steps: int) -> None:
    own = times(1024, 0.005, profile="lognormal:sigma=0.3")
    begun = time.process_time()
    found = simulate(own, steps, 1e-5)
    assert found.batches == 1024 * steps
    assert time.process_time() - begun < 30  # 2 to 5 s on a quiet core for 10,000 steps
