"""What is recommended, refused, written and judged; the probe is simulated."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import machine
from orchestrator.errors import UsageError
from orchestrator.foresight import advice, predict, predictions
from orchestrator.foresight.advice import advise
from orchestrator.foresight.measured import Measured
from orchestrator.foresight.predictions import check_fits, judge, latest, read_predictions
from orchestrator.foresight.probe import Probe, probe_key, probe_specs
from orchestrator.report.advice import sentences
from orchestrator.report.judged import mean_error
from orchestrator.results import Throughput
from orchestrator.spec.run import RunSpec
from tests.unit.foresight.simulated_probe import a_probe
from tests.unit.simulated_runs import a_comparison, a_run

pytestmark = pytest.mark.unit

MODES = ("single", "sync", "async")
SPEC = RunSpec(job="digits", target="val_accuracy>=0.9", samples=64_000, seed=0)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Advice from a simulated probe on 64 cores."""

    def tell(runs: Mapping[str, Measured], spec: RunSpec = SPEC, up_to: int = 8, cores: float = 64) -> dict[str, Any]:
        found = Probe(tmp_path, runs, False, 50.0)
        monkeypatch.setattr(advice, "probe", lambda *_, **__: found)
        monkeypatch.setattr(predict, "RESAMPLES", 20)  # for time: intervals of 100 are in test_predict.py
        found_cores = machine.Cores(int(cores), int(cores), None)
        monkeypatch.setattr(machine, "cores", lambda _: found_cores)
        return advise(spec, up_to, 1.0, None, modes=MODES)

    return tell


def test_the_mode_that_gains_most_is_recommended(told: Any) -> None:
    found = told(a_probe(exchange=0.0005, penalty=1.0))["recommendation"]
    assert (found["distribute"], found["mode"]) == (True, "sync")
    assert found["gain"]["low"] > 1
    stale = told(a_probe(exchange=0.02, penalty=0.01))["recommendation"]
    assert stale["mode"] == "async"


def test_do_not_distribute_where_that_is_so(told: Any) -> None:
    found = told(a_probe(exchange=0.05, slowdown=4.0, penalty=1.0))["recommendation"]
    assert (found["distribute"], found["mode"], found["workers"]) == (False, "single", 1)
    assert found["nearest"]["gain"] < 1


def test_without_a_target_samples_per_second_decide(told: Any) -> None:
    found = told(a_probe(), RunSpec(job="digits"))["recommendation"]
    assert found["by"] == "samples per second"
    assert (found["mode"], found["workers"]) == ("async", 8)


def test_every_prediction_has_an_interval_or_a_reason(told: Any) -> None:
    document = told(a_probe(), up_to=16)
    assert {row["workers"] for row in document["predictions"]} == {1, *range(2, 9), 12, 16}
    for row in document["predictions"]:
        for quantity in (
            "update_seconds",
            "samples_per_s",
            "samples_to_target",
            "seconds_to_target",
            "gain",
            "speedup",
        ):
            found = row[quantity]
            assert found["low"] <= found["value"] <= found["high"] if found["value"] is not None else found["reason"]


def test_prices_are_of_all_tasks_until_the_target(told: Any) -> None:
    (first, *_) = told(a_probe(), RunSpec(**{**SPEC.model_dump(), "price": {"cpu": 3600.0}}))["predictions"]
    assert first["cost"] == pytest.approx(2 * first["seconds_to_target"]["value"])  # a worker and the evaluator
    assert told(a_probe())["predictions"][0]["cost"] is None


def test_where_async_would_begin_to_pay(told: Any) -> None:
    tips = " ".join(told(a_probe(exchange=0.0, slowdown=1.2))["tips"])
    assert "once one of two hosts is" in tips


@pytest.mark.parametrize(
    ("spec", "up_to", "minutes", "says"),
    [
        ({}, 1, 1.0, "workers_up_to"),
        ({}, 1000, 1.0, "workers_up_to"),
        ({}, 8, 0.0, "minutes"),
        ({}, 8, float("nan"), "minutes"),
        ({"address": "auto"}, 8, 1.0, "no model of a network"),
        ({"gpus_per_worker": 1}, 8, 1.0, "GPUs"),
    ],
)
def test_bad_questions_are_refused_before_anything_starts(
    spec: dict[str, Any], up_to: int, minutes: float, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        advise(RunSpec(job="digits", **spec), up_to, minutes, None)


def test_a_target_out_of_reach_is_refused(told: Any) -> None:
    spec = RunSpec(job="digits", target="val_accuracy>=1.5", samples=30_000)
    with pytest.raises(UsageError, match="out of reach"):
        told(a_probe(), spec)


def test_a_metric_that_is_not_evaluated_is_refused_by_name(told: Any) -> None:
    with pytest.raises(UsageError, match="no val_f1; they have: val_accuracy"):
        told(a_probe(), RunSpec(job="digits", target="val_f1>=0.5"))


def test_predictions_are_read_back_and_a_change_is_noticed(told: Any) -> None:
    document = told(a_probe())
    path = Path(document["file"])
    assert read_predictions(path) == document
    changed = {**document, "made": "2020-01-01T00:00:00Z"}
    path.write_text(json.dumps(changed))
    with pytest.raises(UsageError, match="was changed"):
        read_predictions(path)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"predictions": []}', "\x00"])
def test_other_files_are_no_predictions(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match="--predictions"):
        read_predictions(path)


@pytest.mark.parametrize("change", [{"job": "linear"}, {"target": None}, {"params": {"hidden": 3}}])
def test_predictions_of_something_else_are_refused(told: Any, change: dict[str, Any]) -> None:
    document = told(a_probe())
    check_fits(document, SPEC)
    with pytest.raises(UsageError, match=f"about {next(iter(change))}"):
        check_fits(document, RunSpec(**{**SPEC.model_dump(), **change}))


def test_measured_is_set_against_predicted(told: Any) -> None:
    document = told(a_probe(exchange=0.001))
    shared = {"tasks": {"worker": 2}, "samples_per_update": 64, "steps": 1000}
    runs = [a_run("sync", seed, 2.0, throughput=Throughput(steps_per_s=1 / 0.010), **shared) for seed in (0, 1)]
    missed = [a_run("async", 0, None, **{**shared, "samples_per_update": 32})]
    other = [a_run("sync", 0, 2.0, **{**shared, "samples_per_update": 999})]
    judged = judge(document, a_comparison(sync=runs, free=missed, other=other)).predictions
    assert judged is not None
    rows = {(row.variant, row.quantity): row for row in judged}
    step = rows["sync", "update_seconds"]
    assert step.error == pytest.approx(0.1, abs=0.02)
    assert step.covered is True
    assert rows["sync", "samples_to_target"].measured == pytest.approx(8000)
    assert rows["free", "seconds_to_target"].reason == "not every run reached the target"
    assert rows["free", "update_seconds"].measured is None
    assert "not predicted" in (rows["other", "seconds_to_target"].reason or "")
    assert mean_error(judged, "update_seconds") == pytest.approx(0.1, abs=0.02)
    assert mean_error([], "update_seconds") is None


def test_a_probe_measures_every_mode_with_one_worker_and_with_two() -> None:
    specs = probe_specs(SPEC, MODES)
    assert [*specs] == ["single", "single x2", "sync 2", "sync 2 noise", "async 1", "async 2"]
    assert specs["single x2"].batch_size == 2 * SPEC.batch_size
    assert {spec.backend for spec in specs.values()} == {"local"}
    assert {spec.target for spec in specs.values()} == {None}
    assert [*probe_specs(SPEC, ("single", "async", "dampened", "kasync:2", "backup:1", "backup:2"))] == [
        *("single", "single x2", "async 1", "async 2", "dampened 2", "kasync:2 1", "kasync:2 2"),
        *("backup:1 2", "backup:2 3"),
    ]
    assert "sync 2 noise" not in probe_specs(RunSpec(job="digits"), MODES)


def test_a_probe_is_for_one_job_and_its_params_and_code(tmp_path: Path) -> None:
    file = tmp_path / "job.py"
    file.write_text("a = 1")
    spec = RunSpec(job="job.py:Job", directory=str(tmp_path))
    key = probe_key(spec, MODES, 1.0)
    assert key == probe_key(spec, MODES, 1.0)
    assert key != probe_key(spec, MODES, 2.0)
    assert key != probe_key(RunSpec(**{**spec.model_dump(), "params": {"hidden": 3}}), MODES, 1.0)
    file.write_text("a = 2")
    assert key != probe_key(spec, MODES, 1.0)


def test_a_comparison_finds_the_newest_predictions_that_are_about_it(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/advised")
    folder.mkdir(parents=True)
    for day, target in (("20260101", SPEC.target), ("20260102", "val_accuracy>=0.8"), ("20251231", SPEC.target)):
        document = told(a_probe(), RunSpec(**{**SPEC.model_dump(), "target": target}))
        Path(document["file"]).rename(folder / f"predictions-{day}-000000.json")
    assert latest(SPEC) == read_predictions(folder / "predictions-20260101-000000.json")
    assert latest(RunSpec(**{**SPEC.model_dump(), "address": "auto"})) is None  # they are of this machine
    assert latest(RunSpec(job="linear")) is None
    monkeypatch.setattr(predictions, "code_and_machine", lambda _: "other code")
    assert latest(SPEC) is None


def test_the_page_of_advice_holds_its_curves_and_sentences(told: Any, tmp_path: Path) -> None:
    document = told(a_probe())
    text = (tmp_path / "report.html").read_text()
    assert document["page"] == str(tmp_path / "report.html")
    for sentence in sentences(document):
        assert html.escape(sentence) in text
    for title in ("Time to the target", "Samples per second"):
        chart = re.search(rf'id="data-{title.replace(" ", "-").lower()}">(.*?)</script>', text)
        assert chart is not None
        lines = [trace for trace in json.loads(chart[1])[""]["data"] if trace["mode"] == "lines+markers"]
        assert {line["name"]: line["x"][-1] for line in lines} == {"sync": 8, "async": 8}


def test_what_cannot_be_predicted_has_its_reason_on_the_page(told: Any, tmp_path: Path) -> None:
    told(a_probe(), RunSpec(job="digits"))
    text = (tmp_path / "report.html").read_text()
    assert "the job has no target" in text
    assert "Time to the target: not available" in text
