"""Time to a target with misses, scaling, and the price of a slow worker: against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.verdict.scaling import scaling_efficiency, sync_seconds, waiting_share
from orchestrator.verdict.statistics import Estimate
from orchestrator.verdict.survival import kaplan_meier, restricted_mean

# Not marked `unit`: it takes seconds, and the marked set has thirty.

thousand = settings(max_examples=1000, derandomize=True, deadline=None, database=None)
randoms = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@thousand
@given(randoms, st.integers(1, 10))
def test_kaplan_meier_is_scipys(random: np.random.Generator, n: int) -> None:
    times, seen = random.integers(0, 10, n), random.random(n) < 0.7
    curve = kaplan_meier(times.tolist(), seen.tolist())
    assume(seen.any())
    survival = stats.ecdf(stats.CensoredData(times[seen], right=times[~seen])).sf
    assert [s for _, s in curve] == pytest.approx(survival.evaluate([t for t, _ in curve]).tolist())


@thousand
@given(randoms, st.integers(1, 10), st.integers(0, 5))
def test_restricted_mean_counts_a_miss_as_the_horizon(random: np.random.Generator, reached: int, missed: int) -> None:
    horizon = float(random.uniform(1, 120))
    times = [*random.uniform(0, 100, reached).tolist(), *[horizon] * missed]
    mean = restricted_mean(times, [True] * reached + [False] * missed, horizon)
    assert mean == pytest.approx(np.minimum(times, horizon).mean())


def test_restricted_mean_weighs_an_interrupted_run_by_those_that_went_on() -> None:
    # Seen until 1 s without the event: its share passes to the two that went on.
    assert restricted_mean([1.0, 2.0, 4.0], [False, True, True], 4.0) == pytest.approx(3.0)
    assert restricted_mean([], [], 10.0) is None
    assert restricted_mean([5.0], [True], 10.0) == 5.0
    assert restricted_mean([5.0], [True], 0.0) is None
    assert kaplan_meier([3.0], [False]) == []
    with pytest.raises(ValueError, match="finite"):
        kaplan_meier([math.nan], [True])


def test_scaling_efficiency_is_throughput_over_linear() -> None:
    ours = scaling_efficiency([300.0, 330.0, 310.0], [100.0, 110.0, 100.0], 4)
    assert ours.value == pytest.approx((0.75 * 0.75 * 0.775) ** (1 / 3))
    assert ours.low is not None
    assert ours.low < 0.75
    with pytest.raises(ValueError, match="above 0"):
        scaling_efficiency([1.0], [1.0], 0)


def test_sync_pays_for_the_slowest_worker_of_every_step() -> None:
    persistent = [[0.1, 0.1, 0.1, 0.4]] * 50
    assert sync_seconds(persistent) == pytest.approx(20)
    assert sync_seconds(persistent, overhead=0.1) == pytest.approx(25)
    assert waiting_share(persistent) == pytest.approx(0.5625)
    assert waiting_share([[0.2, 0.2]] * 3) == pytest.approx(0)
    assert sync_seconds([]) is sync_seconds([[]]) is sync_seconds([[0.1], [math.nan]]) is None
    assert waiting_share([[0.0]]) is None


@settings(thousand, max_examples=20)
@given(st.integers(1, 16), st.floats(0.1, 10))
def test_sync_under_exponential_draws_matches_the_harmonic_closed_form(workers: int, mean: float) -> None:
    draws = np.random.default_rng(workers).exponential(mean, (4000, workers)).tolist()
    expected = 4000 * mean * sum(1 / k for k in range(1, workers + 1))
    assert sync_seconds(draws) == pytest.approx(expected, rel=0.06)


def test_scaling_of_a_throughput_that_was_not_measured_is_nothing() -> None:
    assert scaling_efficiency([0.0, 1.0], [1.0, 1.0], 2) == Estimate()
