"""Comparisons assembled from results: baseline, order, and notes on how the runs were made."""

from __future__ import annotations

import pytest

from orchestrator.results import Comparison, RunResult
from orchestrator.verdict import assemble
from orchestrator.verdict.assemble import ONE_AFTER_ANOTHER, took_turns
from tests.unit.simulated_runs import some_runs

pytestmark = pytest.mark.unit


def assembled(results: list[RunResult], notes: tuple[str, ...] = ()) -> Comparison:
    return assemble("c", results, ["sync", "async"], job="simulated", seeds=range(3), notes=notes)


def test_whether_variants_took_turns() -> None:
    assert took_turns(["a", "b", "a", "b"])
    assert took_turns(["a", "b", "b", "a"])
    assert took_turns(["a", "b"])
    assert not took_turns(["a", "a", "b", "b"])


def test_the_first_variant_is_the_baseline_and_all_have_one_horizon() -> None:
    comparison = assembled([*some_runs("async", 100, 3), *some_runs("sync", 300, 3)])
    assert (comparison.baseline, list(comparison.modes)) == ("sync", ["sync", "async"])
    assert [len(mode.runs) for mode in comparison.modes.values()] == [3, 3]
    assert len({mode.summary.horizon for mode in comparison.modes.values()}) == 1


def test_reasons_begin_with_how_the_runs_were_made() -> None:
    sync, async_ = some_runs("sync", 300, 3), some_runs("async", 100, 3, fewest_workers=2)
    reasons = assembled([*sync, *async_], ("noted",)).verdict.reasons
    assert reasons[:2] == (ONE_AFTER_ANOTHER, "noted")
    assert reasons[2].endswith("trained with fewer workers for a while: async-0, async-1, async-2")
    in_turn = [run for pair in zip(sync, async_, strict=True) for run in pair]
    assert ONE_AFTER_ANOTHER not in assembled(in_turn).verdict.reasons
