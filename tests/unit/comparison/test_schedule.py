"""The schedule of a comparison: order of runs, seeds, learning rates; and the assembled results."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.comparison.schedule import LEARNING_RATE_SCALES, assemble, best, schedule
from orchestrator.results import Comparison, RunResult, Seconds, TargetResult
from orchestrator.runs.execution import _advance
from orchestrator.runs.planned import Planned
from orchestrator.spec.comparison import CompareSpec

pytestmark = pytest.mark.unit

PATH = Path("runs/c")
TWO = {"job": "digits", "modes": ["sync", "async"]}


def result_of(planned: Planned, seconds: float | None = 10.0, **fields: object) -> RunResult:
    spec = planned.spec
    target = TargetResult(
        metric="val_accuracy",
        op=">=",
        value=0.95,
        reached=seconds is not None,
        seconds=seconds,
        steps=100,
        samples=3200,
    )
    values = {"status": "succeeded", "target": target, "final": {"val_accuracy": 0.96}, "tasks": {}} | fields
    return RunResult(
        run_id=planned.run_id, job=spec.job, mode=spec.mode, variant=spec.variant, seed=spec.seed, **values
    )  # fmt: skip


def play(spec: CompareSpec, seconds_of: dict[tuple[str, float], float | None]) -> tuple[list[Planned], list[RunResult]]:
    """Run the schedule with seconds to target given by variant and learning-rate scale."""
    results: list[RunResult] = []
    _, runs = schedule(spec, PATH, results)
    planned = [next(runs)]
    while True:
        last = planned[-1].spec
        try:
            key = (last.variant_name, last.learning_rate_scale)
            planned.append(runs.send(result_of(planned[-1], seconds_of.get(key, 10.0))))
        except StopIteration:
            return planned, results


def test_variants_take_turns_over_paired_seeds() -> None:
    planned, results = play(CompareSpec.make({"job": "digits", "seeds": 2}), {})
    modes = ("single", "sync", "async")
    assert [(p.spec.mode, p.spec.seed) for p in planned] == [(mode, seed) for seed in (0, 1) for mode in modes]
    assert [p.run_id for p in planned] == [f"c-{mode}-s{seed}" for seed in (0, 1) for mode in modes]
    assert all(p.path == PATH / "runs" / p.run_id for p in planned)
    assert len(results) == 6


def test_the_first_runs_are_one_of_each_variant() -> None:
    spec = CompareSpec.make({"job": "digits", "seeds": [5, 6], "vary": {"workers": [1, 2]}, "modes": ["sync"]})
    first_runs, _ = schedule(spec, PATH, [])
    assert [(p.spec.variant, p.spec.seed) for p in first_runs] == [("sync workers=1", 5), ("sync workers=2", 5)]


def test_a_learning_rate_is_found_on_a_seed_that_is_not_scored() -> None:
    spec = CompareSpec.make(TWO | {"seeds": 2, "tune_lr": True})
    planned, results = play(spec, {("async", 0.3): 4.0, ("async", 1.0): 8.0, ("sync", 3.0): None})
    tuning, scored = planned[: 2 * len(LEARNING_RATE_SCALES)], planned[2 * len(LEARNING_RATE_SCALES) :]
    assert {p.path.parent.name for p in tuning} == {"tuning"}
    assert {p.spec.seed for p in tuning}.isdisjoint({p.spec.seed for p in scored})
    assert {(p.spec.mode, p.spec.learning_rate_scale) for p in scored} == {("sync", 1.0), ("async", 0.3)}
    assert [r.seed for r in results] == [0, 0, 1, 1]


def test_tuning_says_what_it_chose_and_what_it_cost() -> None:
    spec = CompareSpec.make(TWO | {"seeds": 3, "tune_lr": True})
    results: list[RunResult] = []
    tried: dict[str, list[RunResult]] = {}
    runs = schedule(spec, PATH, results, tried)[1]
    planned: Planned | None = next(runs)
    while planned is not None:
        result = result_of(planned, 4.0 if planned.spec.learning_rate_scale == 0.3 else None, samples=64_000)
        planned = _advance(runs, result.model_copy(update={"seconds": Seconds(elapsed=5.0, training=4.0)}))
    comparison = assemble("c", spec, results, tried)
    assert comparison.tuning is not None
    assert set(comparison.tuning) == {"sync", "async"}
    tuning = comparison.tuning["sync"]
    assert (tuning.chosen, tuning.seconds, tuning.samples) == (0.3, 15.0, 192_000)
    assert tuning.tried == {"1": None, "0.3": 4.0, "3": None}
    told = "--tune-lr chose 0.3x the learning rate for sync (to the target: 1x missed, 0.3x 4.00 s, 3x missed)"
    assert f"{told}; it cost 15.0 s, 192,000 samples" in comparison.verdict.reasons
    assert Comparison.model_validate_json(comparison.model_dump_json(by_alias=True)) == comparison


def test_the_best_run_is_first_at_the_target_then_by_quality_then_by_loss() -> None:
    planned = Planned(CompareSpec.make({"job": "digits"}).variant("sync", 0), PATH, "r")
    slow, soon, missed = (result_of(planned, seconds) for seconds in (9.0, 3.0, None))
    assert best([slow, soon, missed]) == 1
    failed = result_of(planned, 1.0, status="failed")
    assert best([failed, slow]) == 1
    better = result_of(planned, None, final={"val_accuracy": 0.94})
    assert best([result_of(planned, None, final={"val_accuracy": 0.90}), better]) == 1
    lower = result_of(planned, None, target=None, final={"val_loss": 0.1})
    nan = result_of(planned, None, target=None, final={"val_loss": float("nan")})
    assert best([nan, result_of(planned, None, target=None, final={"val_loss": 0.2}), lower]) == 2


def test_a_tie_goes_to_the_jobs_own_rate() -> None:
    planned = Planned(CompareSpec.make({"job": "digits"}).variant("sync", 0), PATH, "r")
    assert best([result_of(planned, 5.0), result_of(planned, 5.0)]) == 0
    assert LEARNING_RATE_SCALES[0] == 1.0


def test_results_are_grouped_by_variant_and_judged_against_the_first() -> None:
    spec = CompareSpec.make(TWO | {"seeds": 5})
    _, results = play(spec, {("sync", 1.0): 10.0, ("async", 1.0): 5.0})
    comparison = assemble("c", spec, results)
    assert comparison.baseline == "sync"
    assert [len(mode.runs) for mode in comparison.modes.values()] == [5, 5]
    assert comparison.modes["async"].summary.reached == 5
    assert comparison.verdict.winner == "async"


def test_variants_that_did_not_take_turns_are_reported() -> None:
    spec = CompareSpec.make(TWO | {"seeds": 3})
    _, results = play(spec, {})
    assert not any("one after another" in reason for reason in assemble("c", spec, results).verdict.reasons)
    in_blocks = sorted(results, key=lambda result: result.variant or "")
    assert any("one after another" in reason for reason in assemble("c", spec, in_blocks).verdict.reasons)


def test_runs_not_started_because_of_the_timeout_are_counted() -> None:
    spec = CompareSpec.make(TWO | {"seeds": 3})
    _, results = play(spec, {})
    verdict = assemble("c", spec, results[:4]).verdict
    assert any(reason.startswith("not started") and ": 2 runs" in reason for reason in verdict.reasons)
