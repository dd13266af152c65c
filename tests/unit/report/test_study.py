"""Comparisons assembled from stored runs: unfinished ones, and ones with missing or damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.report import write_reports
from orchestrator.report.study import load_study
from orchestrator.results import Comparison
from orchestrator.spec.comparison import CompareSpec
from orchestrator.store.directory import write_comparison, write_comparison_spec
from orchestrator.verdict import assemble
from orchestrator.verdict.assemble import ONE_AFTER_ANOTHER
from tests.unit.simulated_runs import a_run
from tests.unit.stored_runs import store_comparison, store_run

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.


def rebuilt(folder: Path) -> Comparison:
    """The comparison that is assembled from the runs in `folder`."""
    made = load_study(folder)
    assert made.comparison is not None
    assert not made.is_stored
    return made.comparison


def test_an_unfinished_comparison_is_judged_like_a_finished_one(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c", seeds=4)
    whole = rebuilt(folder)
    assert list(whole.modes) == ["sync", "async"]
    assert whole.baseline == "sync"
    assert whole.seeds == (0, 1, 2, 3)
    assert whole.verdict.winner == "async"
    assert "4 paired seeds" in whole.verdict.headline + " ".join(whole.verdict.reasons)
    assert len({mode.summary.horizon for mode in whole.modes.values()}) == 1


def test_a_comparison_that_lacks_runs_is_assembled_with_its_own_baseline_and_margin(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    found = rebuilt(folder)
    results = [run for mode in found.modes.values() for run in mode.runs]
    stored = assemble("c", results, ["async", "sync"], job=found.job, seeds=found.seeds, margin=0.03)
    write_comparison(folder, stored)
    assert load_study(folder).comparison == stored
    store_run(folder, "sync", 8)
    again = rebuilt(folder)
    assert (again.baseline, again.margin) == ("async", 0.03)
    assert 8 in again.seeds


def test_baseline_and_margin_of_an_unfinished_comparison_are_those_of_its_spec(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    assert (rebuilt(folder).baseline, rebuilt(folder).margin) == ("sync", 0.005)
    spec = CompareSpec.make({"job": "digits", "margin": 0.02, "modes": ["async", "sync"]})
    write_comparison_spec(folder, spec.model_dump(mode="json"))
    assert (rebuilt(folder).baseline, rebuilt(folder).margin) == ("async", 0.02)


def test_whether_variants_took_turns_is_known_from_the_stored_events(tmp_path: Path) -> None:
    in_turn = rebuilt(store_comparison(tmp_path / "turns"))
    assert in_turn.interleaved
    assert ONE_AFTER_ANOTHER not in in_turn.verdict.reasons
    for name, seconds in {"sync": 10.0, "async": 4.0}.items():
        store_comparison(tmp_path / "blocks", {name: seconds})
    blocks = rebuilt(tmp_path / "blocks")
    assert not blocks.interleaved
    assert ONE_AFTER_ANOTHER in blocks.verdict.reasons


def test_runs_of_different_jobs_are_not_compared(tmp_path: Path) -> None:
    store_comparison(tmp_path / "c", {"sync": 10.0})
    store_comparison(tmp_path / "c", {"async": 10.0}, job="mnist")
    with pytest.raises(UsageError, match=r"different jobs.*mnist"):
        load_study(tmp_path / "c")


def test_a_run_without_a_result_is_read_from_its_metrics(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    store_run(folder, "sync", 9, 10.0, with_result=False)
    run = next(run.result for _, run in load_study(folder).runs if run.result.seed == 9)
    assert run.status == "stopped"
    assert "interrupted" in (run.stop_reason or "")
    assert run.steps == 200
    assert run.samples == 10_000
    assert run.target is not None
    assert run.target.reached
    assert run.target.seconds == pytest.approx(12.0 * 0.6)
    assert run.final["val_accuracy"] > 0.9
    made = rebuilt(folder)
    assert 9 in {stored.seed for stored in made.modes["sync"].runs}
    assert "3 paired seeds, 1 run without a partner left out" in " ".join(made.verdict.reasons)


def test_runs_that_were_never_trained_are_left_out(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    never = a_run("sync", 7, None, job="simulated", status="failed", samples=None, stop_reason="not trained")
    path = folder / "runs" / "sync-s7"
    path.mkdir()
    (path / "result.json").write_text(never.model_dump_json(by_alias=True))
    made = rebuilt(folder)
    assert 7 not in made.seeds
    assert "1 run without training left out" in made.verdict.reasons


def test_a_damaged_run_is_named_and_the_others_are_reported(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    broken = folder / "runs" / "sync-s0"
    (broken / "result.json").write_text("{")
    (folder / "runs" / "async-s1" / "metrics.db").write_bytes(b"not a database" * 100)
    made = rebuilt(folder)
    assert len(made.modes["sync"].runs) == 2
    assert any("not read" in reason and "sync-s0" in reason for reason in made.verdict.reasons)
    write_reports(folder)

    (folder / "comparison.json").unlink()
    for path in folder.glob("runs/*/result.json"):
        path.write_text("{")
    with pytest.raises(UsageError, match=r"There is no run to report in .*sync-s0"):
        load_study(folder)
