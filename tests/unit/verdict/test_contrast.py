"""What a contrast says of either side."""

from __future__ import annotations

import pytest

from orchestrator.verdict.contrast import Contrast, Counts
from orchestrator.verdict.statistics import Estimate

pytestmark = pytest.mark.unit


def contrast(bad: tuple[int, int] = (0, 0), runs: tuple[int, int] = (5, 5), **fields: object) -> Contrast:
    return Contrast("time", "async", "sync", Counts(bad, runs, None), **fields)


@pytest.mark.parametrize(
    ("bad", "runs", "worse"),
    [((2, 1), (10, 3), "sync"), ((1, 2), (3, 10), "async"), ((2, 2), (5, 5), None), ((1, 0), (5, 5), "async")],
)
def test_more_is_lost_where_the_share_is_larger(bad: tuple[int, int], runs: tuple[int, int], worse: str | None) -> None:
    found = contrast(bad, runs)
    assert [name for name in ("async", "sync") if found.loses_more(name)] == ([worse] if worse else [])


def test_from_the_other_side_a_ratio_and_its_interval_are_inverted() -> None:
    found = contrast(advantage=Estimate(2.0, 1.6, 2.5, 0.01)).seen_from("sync")
    assert (found.value, found.low, found.high) == (0.5, 0.4, 0.625)
    difference = contrast(advantage=Estimate(0.02, -0.01, 0.05, 0.2), neutral=0.0).seen_from("sync")
    assert (difference.value, difference.low, difference.high) == (-0.02, -0.05, 0.01)
