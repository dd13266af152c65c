"""Estimates and tests against scipy, closed forms, and simulation."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.verdict.statistics import (
    Estimate,
    equivalence,
    fewer_failures,
    geometric_mean_ratio,
    holm,
    independent_difference,
    paired_difference,
    seeds_for_equivalence,
)

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.

hundreds = settings(max_examples=300, derandomize=True, deadline=None, database=None)
# Drawn by numpy from a drawn seed: ten times faster than lists of drawn floats.
randoms = st.integers(0, 2**32 - 1).map(np.random.default_rng)
probability = st.floats(0, 1)


def sample(random: np.random.Generator, n: int) -> list[float]:
    return random.normal(random.normal(), 10 ** random.uniform(-4, 3), n).tolist()


@hundreds
@given(randoms, st.integers(2, 10), st.floats(1e-3, 1e3))
def test_paired_difference_and_equivalence_agree_with_scipy(random: np.random.Generator, n: int, margin: float) -> None:
    x, y = sample(random, n), sample(random, n)
    difference = np.subtract(x, y)
    reference = scipy.stats.ttest_1samp(difference, 0)
    ours = paired_difference(x, y)
    assert (ours.low, ours.high) == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-7)
    assert ours.p_value == pytest.approx(reference.pvalue, rel=1e-7)
    # The larger of the two one-sided p-values is the one on the side where the mean lies.
    edge, side = (margin, "less") if difference.mean() > 0 else (-margin, "greater")
    p = scipy.stats.ttest_1samp(difference, edge, alternative=side).pvalue
    assert equivalence(x, y, margin) == pytest.approx(p, rel=1e-7, abs=1e-12)


@hundreds
@given(randoms, st.integers(2, 10), st.integers(2, 10), st.floats(1e-3, 1e3))
def test_independent_difference_and_equivalence_agree_with_scipy(
    random: np.random.Generator, n: int, m: int, margin: float
) -> None:
    x, y = sample(random, n), sample(random, m)
    reference = scipy.stats.ttest_ind(x, y, equal_var=False)
    ours = independent_difference(x, y)
    assert (ours.low, ours.high) == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-7)
    assert ours.p_value == pytest.approx(reference.pvalue, rel=1e-7)
    edge, side = (margin, "less") if np.mean(x) > np.mean(y) else (-margin, "greater")
    p = scipy.stats.ttest_ind(np.subtract(x, edge), y, equal_var=False, alternative=side).pvalue
    assert equivalence(x, y, margin, paired=False) == pytest.approx(p, rel=1e-7, abs=1e-12)


@hundreds
@given(randoms, st.integers(2, 9), st.booleans())
def test_ratio_is_the_geometric_mean_and_swapping_sides_inverts_it(
    random: np.random.Generator, n: int, paired: bool
) -> None:
    x, y = random.lognormal(size=(2, n)).tolist()
    ours, swapped = geometric_mean_ratio(x, y, paired=paired), geometric_mean_ratio(y, x, paired=paired)
    assert ours.value == pytest.approx(math.exp(np.log(x).mean() - np.log(y).mean()), rel=1e-9)
    assert ours.low is not None
    assert ours.high is not None
    assert 0 < ours.low < ours.value < ours.high
    assert ours.p_value == pytest.approx(swapped.p_value)
    assume(ours.high < 1e300)
    assert (swapped.low, swapped.high) == pytest.approx((1 / ours.high, 1 / ours.low), rel=1e-6)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_ratio_does_not_depend_on_the_order_of_seeds_or_on_the_unit(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.lognormal(size=n).tolist(), rng.lognormal(size=n).tolist()
    ours = geometric_mean_ratio(x, y)
    backwards = geometric_mean_ratio(x[::-1], y[::-1])
    minutes = geometric_mean_ratio([v / 60 for v in x], [v / 60 for v in y])
    for other in (backwards, minutes):
        assert (other.low, other.high) == pytest.approx((ours.low, ours.high), rel=1e-9)


def test_ratio_of_exact_multiples_has_no_width() -> None:
    ours = geometric_mean_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (ours.value, ours.low, ours.high, ours.p_value) == pytest.approx((2, 2, 2, 0))


def test_ratio_of_repeating_values_has_an_interval() -> None:
    ours = geometric_mean_ratio([2.0] * 9 + [3.0], [1.0] * 10)
    assert ours.low is not None
    assert ours.high is not None
    assert 1 < ours.low < ours.high < 4


@pytest.mark.parametrize(("n", "floor"), [(3, 0.93), (5, 0.93), (10, 0.92)])
def test_ratio_covers_the_truth(n: int, floor: float) -> None:
    rng = np.random.default_rng(0)
    samples = np.exp(0.1 * rng.standard_normal((600, n)))
    held = [geometric_mean_ratio(row.tolist(), [1.0] * n) for row in samples]
    assert np.mean([e.low <= 1 <= e.high for e in held if e.low and e.high]) >= floor


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_values_outside_the_domain_give_no_estimate(bad: float) -> None:
    assert geometric_mean_ratio([1.0, bad, 3.0], [1.0, 2.0, 3.0]) == Estimate()
    if not math.isfinite(bad):
        assert paired_difference([1.0, bad], [1.0, 2.0]) == Estimate()
        assert independent_difference([1.0, bad], [1.0, 2.0]) == Estimate()
        assert equivalence([1.0, bad], [1.0, 2.0], 0.1) is None
    assert equivalence([1.0, 2.0], [1.0, 2.0], bad) is None
    assert seeds_for_equivalence([0.1, 0.2], bad) is None


def test_few_values_give_the_value_alone_or_no_estimate() -> None:
    assert paired_difference([], []) == geometric_mean_ratio([], []) == Estimate()
    assert independent_difference([], [1.0, 2.0]) == Estimate()
    assert paired_difference([3.0], [1.0]) == Estimate(2.0)
    assert geometric_mean_ratio([3.0], [1.0]).value == pytest.approx(3)
    assert geometric_mean_ratio([3.0], [1.0]).low is None
    assert independent_difference([3.0], [1.0, 1.0]) == Estimate(2.0)
    assert equivalence([1.0], [1.0], 0.1) is None
    assert equivalence([], [], 0.1) is None
    assert fewer_failures(0, 0, 1, 3) is None
    assert seeds_for_equivalence([0.1], 0.1) is None


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        paired_difference([1.0], [1.0, 2.0])


def test_equivalence_without_spread_is_certain() -> None:
    assert equivalence([0.9] * 3, [0.9] * 3, 0.005) == 0
    assert equivalence([0.9] * 3, [0.8] * 3, 0.005) == 1
    assert paired_difference([0.9] * 3, [0.9] * 3) == Estimate(0, 0, 0, 1)


@hundreds
@given(st.lists(probability, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = 0
        for rank, p in enumerate(sorted(p_values)):
            if p * (len(p_values) - rank) > level:
                break
            rejected += 1
        assert sum(p <= level for p in adjusted) == rejected
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))


@settings(hundreds, max_examples=100)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))
def test_fewer_failures_sums_the_hypergeometric(a: int, b: int, n: int, m: int) -> None:
    assume(a <= n and b <= m)
    weights = [math.comb(n, k) * math.comb(m, a + b - k) for k in range(a + b + 1)]
    p = sum(w for w in weights if w <= weights[a] * (1 + 1e-9)) / sum(weights)
    assert fewer_failures(a, n, b, m) == pytest.approx(p)


def test_seeds_for_equivalence_gives_the_power_it_promises() -> None:
    rng = np.random.default_rng(5)
    unit = [-1 / math.sqrt(2), 1 / math.sqrt(2)]  # standard deviation 1
    for margin in (0.6, 1.0, 2.0):
        n = seeds_for_equivalence(unit, margin)
        assert n is not None
        p = [equivalence(rng.standard_normal(n).tolist(), [0.0] * n, margin) for _ in range(400)]
        assert np.mean([v is not None and v < 0.05 for v in p]) >= 0.72


def test_importing_the_module_loads_neither_numpy_nor_scipy() -> None:
    code = "import sys, orchestrator.verdict.statistics as s; print('numpy' in sys.modules or 'scipy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
