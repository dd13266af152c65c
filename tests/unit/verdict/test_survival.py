"""Time to a target with misses against scipy, and scaling efficiency."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.verdict.scaling import scaling_efficiency
from orchestrator.verdict.statistics import Estimate
from orchestrator.verdict.survival import kaplan_meier, restricted_mean

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.

hundreds = settings(max_examples=300, derandomize=True, deadline=None, database=None)
randoms = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@hundreds
@given(randoms, st.integers(1, 10))
def test_kaplan_meier_agrees_with_scipy(random: np.random.Generator, n: int) -> None:
    times, seen = random.integers(0, 10, n), random.random(n) < 0.7
    curve = kaplan_meier(times.tolist(), seen.tolist())
    assume(seen.any())
    survival = scipy.stats.ecdf(scipy.stats.CensoredData(times[seen], right=times[~seen])).sf
    assert [s for _, s in curve] == pytest.approx(survival.evaluate([t for t, _ in curve]).tolist())


@hundreds
@given(randoms, st.integers(1, 10), st.integers(0, 5))
def test_restricted_mean_counts_a_miss_as_the_horizon(random: np.random.Generator, reached: int, missed: int) -> None:
    horizon = float(random.uniform(1, 120))
    times = [*random.uniform(0, 100, reached).tolist(), *[horizon] * missed]
    mean = restricted_mean(times, [True] * reached + [False] * missed, horizon)
    assert mean == pytest.approx(np.minimum(times, horizon).mean())


def test_the_share_of_an_interrupted_run_passes_to_the_runs_that_continued() -> None:
    # The first run was observed until 1 s, without the event.
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


def test_scaling_efficiency_needs_measured_throughputs() -> None:
    assert scaling_efficiency([0.0, 1.0], [1.0, 1.0], 2) == Estimate()
