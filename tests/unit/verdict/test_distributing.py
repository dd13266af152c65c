"""Is it worth distributing at all? And what keeps variants from being comparable."""

from __future__ import annotations

import pytest

from orchestrator.results import RunResult, Verdict
from orchestrator.verdict import judge
from tests.unit.simulated_runs import some_runs

pytestmark = pytest.mark.unit

CLUSTERS = {
    "single": {"worker": 1, "evaluator": 1},
    "sync": {"worker": 2, "evaluator": 1},
    "async": {"chief": 1, "ps": 1, "worker": 2, "evaluator": 1},
}


def contest(seeds: int = 5, baseline: str = "single", **seconds: float) -> Verdict:
    modes = {mode: some_runs(mode, time, seeds, tasks=CLUSTERS[mode]) for mode, time in seconds.items()}
    return judge(modes, baseline)


def test_distributing_is_worth_it_if_one_distributed_variant_beats_one_process() -> None:
    verdict = contest(single=200, sync=100)
    assert verdict.distributing is not None
    assert verdict.distributing.worth_it is True
    assert verdict.distributing.answer == "Yes, with sync: 2.0x sooner than one process."
    assert verdict.headline == "Use sync: 2.0x sooner than one process"
    efficiency = verdict.distributing.efficiency["sync"]
    assert efficiency.value == pytest.approx(1.0, rel=0.05)
    assert efficiency.low is not None


def test_distributing_is_not_worth_it_if_one_process_beats_every_other_variant() -> None:
    verdict = contest(**{"single": 100, "sync": 150, "async": 300})
    assert verdict.winner == "single"
    assert verdict.distributing is not None
    assert verdict.distributing.worth_it is False
    nearest = "1.5x sooner than sync, the nearest of the distributed variants."
    assert verdict.distributing.answer == f"No, use one process: {nearest}"
    assert verdict.headline == "Use single: 1.5x sooner than sync"
    assert verdict.distributing.efficiency["async"].value == pytest.approx(1 / 6, rel=0.05)


def test_it_stays_open_if_the_data_do_not_decide() -> None:
    verdict = contest(**{"single": 100, "sync": 101, "async": 300})
    assert verdict.distributing is not None
    assert (verdict.winner, verdict.distributing.worth_it) == (None, None)
    assert verdict.distributing.answer == "Not shown: no clear winner between one process and sync."
    few = contest(2, single=200, sync=100).distributing
    assert few is not None
    assert (few.worth_it, few.answer) == (None, "Not shown: too few seeds: 2.")


def test_the_baseline_need_not_be_one_process() -> None:
    verdict = contest(baseline="sync", sync=100, single=200)
    assert verdict.distributing is not None
    assert verdict.distributing.worth_it is True
    assert verdict.headline == "Use sync: 2.0x sooner than one process"
    alone = some_runs("sync", 200, tasks={"worker": 1}), some_runs("sync", 100, tasks={"worker": 2})
    of_workers = judge({"sync workers=1": alone[0], "sync workers=2": alone[1]}, "sync workers=1").distributing
    assert of_workers is not None
    assert of_workers.answer == "Yes, with sync workers=2: 2.0x sooner than sync workers=1."


def test_there_is_no_answer_without_one_process_or_without_a_distributed_variant() -> None:
    assert contest(baseline="sync", **{"sync": 100, "async": 200}).distributing is None
    same = some_runs("single", 100, tasks=CLUSTERS["single"])
    assert judge({"single": same, "again": same}, "single").distributing is None


@pytest.mark.parametrize("rates", [(0.002, 0.002), (0.002, 0.001)])
def test_samples_per_update_that_differ_at_one_learning_rate_are_a_caveat(rates: tuple[float, float]) -> None:
    def runs(mode: str, samples: int, rate: float) -> list[RunResult]:
        return some_runs(mode, 100, samples_per_update=samples, learning_rate=rate)

    modes = {"sync": runs("sync", 64, rates[0]), "async": runs("async", 32, rates[1])}
    found = judge(modes, "sync").caveats
    assert len(found) == (rates[0] == rates[1])
    if found:
        assert found[0].startswith("Samples per update differ at one learning rate, 0.002: sync 64, async 32.")
        assert "--tune-lr" in found[0]
    assert not judge(modes, "sync", tuned=True).caveats
    equal = {"sync": runs("sync", 64, 0.002), "async": runs("async", 64, 0.002)}
    assert not judge(equal, "sync").caveats
    assert not judge({"sync": some_runs("sync", 100), "async": some_runs("async", 100)}, "sync").caveats


def test_a_headline_has_a_dozen_words_at_most() -> None:
    for times in ({"single": 100, "sync": 50, "async": 51}, {"single": 50, "sync": 100, "async": 90}):
        assert len(contest(**times).headline.split()) <= 12
