"""Means over seeds with their intervals, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from orchestrator.report.bands import band, interpolate, thinned
from orchestrator.report.lines import complete, middle
from orchestrator.report.series import NO_CURVE, Curve
from orchestrator.report.stored import StoredRun
from tests.unit.simulated_runs import a_run

pytestmark = pytest.mark.unit


def test_band_is_the_students_interval_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    grid = [float(x) for x in range(11)]
    values = rng.normal(5, 1, (4, 11))
    found = band([Curve(grid, row.tolist()) for row in values], 11)
    low, high = scipy.stats.t.interval(0.95, 3, values.mean(0), scipy.stats.sem(values, axis=0))
    assert found.x == grid
    np.testing.assert_allclose(found.mean, values.mean(0))
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)
    logged = band([Curve(grid, np.exp(row).tolist()) for row in values], 11, geometric=True)
    np.testing.assert_allclose(np.log(logged.low), low)


def test_band_covers_what_all_runs_share() -> None:
    short_one, long_one = Curve([0, 4], [1, 1]), Curve([1, 9], [2, 2])
    found = band([short_one, long_one, long_one], 7)
    assert (found.x[0], found.x[-1]) == (1, 4)
    assert band([short_one, long_one], 7).low == []  # of two seeds, no interval
    assert band([short_one, Curve([5, 9], [1, 1])], 7).x == []
    assert band([], 7).x == band([Curve([1], [1])], 7).x == []


def test_a_mean_needs_a_range_that_all_runs_share() -> None:
    early, late = Curve([0, 4], [1, 1]), Curve([3.5, 9], [2, 2])
    assert middle([early, late], 7, geometric=False).x == []
    assert middle([early, Curve([1, 9], [2, 2])], 7, geometric=False).mean == [1.5] * 7
    assert middle([late], 7, geometric=False).x == late.x
    assert middle([], 7, geometric=False).x == []


def test_failed_runs_are_not_in_a_mean() -> None:
    runs = [StoredRun(a_run("sync", seed, 1.0, status="failed" if seed == 1 else "succeeded")) for seed in range(3)]
    curves = [Curve([0, 1], [seed, seed]) for seed in range(3)]
    assert complete(runs, curves) == [curves[0], curves[2]]
    assert complete(runs, [NO_CURVE, curves[1], NO_CURVE]) == [curves[1]]  # nothing better to show


def test_interpolation_and_thinning() -> None:
    curve = Curve([0, 1, 3], [0, 10, 30])
    assert interpolate(curve, [0, 0.5, 1, 2, 3]) == [0, 5, 10, 20, 30]
    many = Curve(list(range(1000)), list(range(1000)))
    few = thinned(many, 50)
    assert len(few.x) <= 51
    assert few.x[-1] == 999
    assert thinned(Curve([], []), 50).x == []
