"""Comparisons put together again: after a crash, of several folders, of runs that left only half of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.report import rebuild, write_reports
from orchestrator.report.joining import study
from orchestrator.report.repeating import spec_text
from orchestrator.spec import yaml
from orchestrator.spec.comparison import CompareSpec
from orchestrator.store.directory import write_comparison, write_comparison_spec
from orchestrator.verdict import ONE_AFTER_ANOTHER
from orchestrator.verdict.evidence import took_turns
from tests.unit.simulated_runs import a_run
from tests.unit.stored_runs import store_comparison, store_run

# Not marked `unit`: it takes seconds, and the marked set has thirty.


def test_rebuild_after_a_crash_judges_as_the_comparison_would_have(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c", seeds=4)
    whole = rebuild([folder])
    assert list(whole.modes) == ["sync", "async"]
    assert whole.baseline == "sync"
    assert whole.seeds == (0, 1, 2, 3)
    assert whole.verdict.winner == "async"
    assert "4 paired seeds" in whole.verdict.headline + " ".join(whole.verdict.reasons)
    assert len({mode.summary.horizon for mode in whole.modes.values()}) == 1


def test_rebuild_keeps_the_stored_baseline(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    write_comparison(folder, rebuild([folder], baseline="async"))
    assert rebuild([folder]).baseline == "async"
    with pytest.raises(UsageError, match="baseline: 'nobody'"):
        rebuild([folder], baseline="nobody")


def test_rebuild_keeps_the_margin_of_the_spec(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    assert rebuild([folder]).margin == 0.005
    spec = CompareSpec.make({"job": "digits", "margin": 0.02})
    write_comparison_spec(folder, spec.model_dump(mode="json"))
    again = rebuild([folder])
    assert again.margin == 0.02
    write_comparison(folder, again.model_copy(update={"margin": 0.03}))
    assert rebuild([folder]).margin == 0.03


def test_variants_that_ran_one_after_another_are_told_from_those_that_took_turns(tmp_path: Path) -> None:
    assert took_turns(["a", "b", "a", "b"])
    assert took_turns(["a", "b", "b", "a"])
    assert took_turns(["a", "b"])
    assert not took_turns(["a", "a", "b", "b"])
    in_turn = rebuild([store_comparison(tmp_path / "turns")])
    assert in_turn.interleaved
    assert ONE_AFTER_ANOTHER not in in_turn.verdict.reasons
    for name, seconds in {"sync": 10.0, "async": 4.0}.items():
        store_comparison(tmp_path / "blocks", {name: seconds})
    blocks = rebuild([tmp_path / "blocks"])
    assert not blocks.interleaved
    assert ONE_AFTER_ANOTHER in blocks.verdict.reasons


def test_runs_of_several_folders_are_unpaired(tmp_path: Path) -> None:
    monday = store_comparison(tmp_path / "monday", {"sync": 10.0}, seeds=4)
    tuesday = store_comparison(tmp_path / "tuesday", {"async": 4.0}, seeds=4)
    joined = rebuild([monday, tuesday])
    assert joined.comparison_id == "monday+tuesday"
    assert joined.verdict.winner == "async"
    assert joined.verdict.confidence != "high"
    said = " ".join(joined.verdict.reasons)
    assert "joined from 2 folders" in said
    assert "unpaired" in said
    assert "paired seeds" not in said.replace("unpaired", "")


def test_one_mode_with_several_settings_becomes_several_variants(tmp_path: Path) -> None:
    store_comparison(tmp_path / "two", {"sync": 10.0}, workers=2)
    store_comparison(tmp_path / "four", {"sync": 6.0}, workers=4)
    joined = rebuild([tmp_path / "two", tmp_path / "four"])
    assert sorted(joined.modes) == ["sync workers=2", "sync workers=4"]
    assert all(len(mode.runs) == 3 for mode in joined.modes.values())


def test_the_spec_in_a_report_is_the_spec_that_was_run(tmp_path: Path) -> None:
    """As far as `regatta compare spec.yaml` would make the same runs of it."""

    def stored(folder: Path, values: dict[str, Any]) -> CompareSpec:
        spec = CompareSpec.make(values)
        for seed in spec.seeds:
            for name in spec.variants:
                run = spec.variant(name, seed).resolved()
                store_run(tmp_path / folder, name, seed, 4.0, spec=run, job=run["job"])
        return spec

    def told(folder: Path) -> CompareSpec:
        text = spec_text(study(tmp_path / folder)) or ""
        return CompareSpec.make(yaml.load(text) | {"directory": "."})

    base = {"job": "digits", "samples": 6400, "target": "val_accuracy>=0.95", "params": {"hidden": 8}, "seeds": 2}
    for number, more in enumerate(
        (
            {},
            {"modes": {"sync": {}, "async": {"learning_rate": 0.001}}},
            {"vary": {"workers": [1, 2], "params.hidden": [8, 16]}},
            {
                "variants": {"a": {"batch_size": 16}, "b": {"mode": "async", "epochs": 2}},
                "straggler": "transient:p=0.05,factor=10",
            },
        )
    ):
        folder = Path(f"c{number}")
        spec, again = stored(folder, {**base, **more}), told(folder)
        assert again.seeds == spec.seeds
        assert list(again.variants) == list(spec.variants)
        for name in spec.variants:
            ours, theirs = (s.variant(name, 0).model_dump() for s in (again, spec))
            assert ours | {"out": None} == theirs | {"out": None}


def test_different_jobs_are_not_compared(tmp_path: Path) -> None:
    store_comparison(tmp_path / "a", {"sync": 10.0})
    store_comparison(tmp_path / "b", {"async": 10.0}, job="mnist")
    with pytest.raises(UsageError, match=r"different jobs.*mnist"):
        rebuild([tmp_path / "a", tmp_path / "b"])


def test_a_run_without_a_result_is_read_from_its_metrics(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    store_run(folder, "sync", 9, 10.0, with_result=False)
    run = next(run.result for _, run in study(folder).runs if run.result.seed == 9)
    assert run.status == "stopped"
    assert "interrupted" in (run.stop_reason or "")
    assert run.steps == 200
    assert run.samples == 10_000
    assert run.target is not None
    assert run.target.reached
    assert run.target.seconds == pytest.approx(12.0 * 0.6)
    assert run.final["val_accuracy"] > 0.9
    made = rebuild([folder])
    assert 9 in {stored.seed for stored in made.modes["sync"].runs}
    assert "3 paired seeds, 1 run without a partner left out" in " ".join(made.verdict.reasons)


def test_runs_that_never_began_are_left_out(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    never = a_run("sync", 7, None, job="simulated", status="failed", samples=None, stop_reason="not trained")
    path = folder / "runs" / "sync-s7"
    path.mkdir()
    (path / "result.json").write_text(never.model_dump_json(by_alias=True))
    made = rebuild([folder])
    assert 7 not in made.seeds
    assert "1 run that never began to train left out" in made.verdict.reasons


def test_a_damaged_run_is_named_and_the_others_are_reported(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    broken = folder / "runs" / "sync-s0"
    (broken / "result.json").write_text("{")
    (folder / "runs" / "async-s1" / "metrics.db").write_bytes(b"not a database" * 100)
    made = rebuild([folder])
    assert len(made.modes["sync"].runs) == 2
    assert any("not read" in reason and "sync-s0" in reason for reason in made.verdict.reasons)
    write_reports(folder)
