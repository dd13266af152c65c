"""The simulator against closed forms, and its speed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from orchestrator.foresight.barrier import expected_slowest
from orchestrator.foresight.simulator import alone, by_quorum, in_rounds, together
from orchestrator.foresight.steps import StepTimes
from orchestrator.foresight.visits import queueing, within_bound
from tests.marked import slow
from workers.modes.traits import TARGET_CALL_SECONDS
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


def bounded_one_event_at_a_time(own: StepTimes, steps: int, exchange: float, bound: int, call: int) -> float:
    """Seconds of the same network, if no worker begins a call that takes it further ahead than the bound."""
    workers = own.workers
    draws = [list(own.sleeps(w, steps * workers) + own.work(w, steps * workers)) for w in range(workers)]
    taken, visits = [0] * workers, [draws[worker].pop(0) for worker in range(workers)]
    ready, free = [0.0] * workers, 0.0
    for _ in range(steps * workers):
        worker = int(np.argmin(visits))
        free = max(visits[worker], free) + exchange
        taken[worker] += 1
        ready[worker], visits[worker] = free, np.inf
        slowest = min(count // call for count in taken)
        for other in np.flatnonzero(np.isinf(visits)):
            if taken[other] % call or taken[other] + call <= bound + 1 + slowest * call:
                ready[other] = free if other != worker else ready[other]
                visits[other] = ready[other] + draws[other].pop(0)
    return free


@pytest.mark.parametrize("exchange", [0.0, 2.3e-3])
@pytest.mark.parametrize(("bound", "step"), [(0, 0.02), (3, 0.02), (3, 0.3), (4, 0.06)])
@pytest.mark.parametrize("kind", ["transient:p=0.1,factor=5", "lognormal:sigma=1", "persistent:worker=1,factor=3"])
def test_rounds_of_bounded_workers_give_what_single_events_give(
    kind: str, bound: int, step: float, exchange: float
) -> None:
    def made() -> StepTimes:
        own = (0.00317, 0.00411, 0.00733, 0.00291, 0.00557)  # without ties
        return times(5, *own, profile=f"{kind},step={step}", seed=3)

    mean = float(sum(drawn.mean() for drawn in made().block(512))) + exchange
    call = max(1, min(bound + 1, round(TARGET_CALL_SECONDS / mean)))
    seconds = bounded_one_event_at_a_time(made(), 60, exchange, bound, call)
    assert within_bound(made(), 60, exchange, bound).seconds == pytest.approx(seconds)


@pytest.mark.parametrize("spare", [0, 1, 3])
@pytest.mark.parametrize("profile", ["persistent:worker=1,factor=4", "transient:p=0.1,factor=5", "lognormal:sigma=1"])
def test_a_quorum_makes_versions_as_it_is_defined(profile: str, spare: int) -> None:
    """Each worker followed on its own: it reads a version, and its gradient counts if the version is still that one."""

    def made() -> StepTimes:
        return times(5, 0.0317, 0.0411, 0.0733, 0.0291, 0.0557, profile=profile, seed=3)

    own = made()
    sleeps = [list(own.sleeps(worker, 1000)) for worker in range(5)]
    work = [list(own.work(worker, 1000)) for worker in range(5)]
    version, now, arrived, gradients = 0, 0.0, list[int](), 0
    reads = [sleeps[w].pop(0) for w in range(5)]
    ends = [reads[w] + work[w].pop(0) for w in range(5)]
    began = [0.0]  # when each version was there
    while gradients < 1000 or arrived:
        worker = int(np.argmin(ends))
        now, gradients = ends[worker], gradients + 1
        if sum(at <= reads[worker] for at in began) - 1 < version:  # too late
            reads[worker] = now + sleeps[worker].pop(0)
            ends[worker] = reads[worker] + work[worker].pop(0)
            continue
        arrived.append(worker)
        ends[worker] = np.inf
        if len(arrived) == 5 - spare:
            version += 1
            began.append(now)
            for other in arrived:
                reads[other] = now + sleeps[other].pop(0)
                ends[other] = reads[other] + work[other].pop(0)
            arrived.clear()
    found = by_quorum(made(), 200, 0.0, spare)
    assert found.batches / found.seconds == pytest.approx(gradients / now, rel=0.02)
    assert found.updates / found.seconds == pytest.approx(version / now, rel=0.02)


@pytest.mark.parametrize("length", [1, 3, 512, 700])
def test_a_round_takes_as_long_as_its_slowest_worker(length: int) -> None:
    profile = "lognormal:sigma=0.5"
    drawn = times(3, 0.01, profile=profile).all_sleeps(1500) + 0.01
    ends = [drawn[first : first + length].sum(axis=0).max() for first in range(0, 1500, length)]
    found = in_rounds(times(3, 0.01, profile=profile), 1500, 0.002, length)
    assert found.seconds == pytest.approx(sum(ends) + 0.002 * len(ends))
    assert found.batches == 4500


def test_expected_slowest_agrees_with_the_simulator() -> None:
    sample = np.random.default_rng(0).gamma(4, 0.01, 4000)
    for workers in (1, 2, 8, 64):
        simulated = together(StepTimes([sample], NONE, 1, workers), 4000, 0.0).seconds / 4000
        assert expected_slowest([sample], [workers]) == pytest.approx(simulated, rel=0.02)


@pytest.mark.parametrize("steps", [1000, slow(10_000)])
@pytest.mark.parametrize("simulate", [together, queueing, in_rounds, by_quorum, within_bound])
def test_a_thousand_workers_take_seconds(simulate: object, steps: int) -> None:
    own = times(1024, 0.005, profile="lognormal:sigma=0.3")
    begun = time.process_time()
    found = simulate(own, steps, 1e-5, 4)
    assert found.batches >= 1024 * steps
    assert time.process_time() - begun < 30  # 2 to 5 s on a quiet core for 10,000 steps
