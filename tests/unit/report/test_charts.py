"""Charts as Plotly figures: valid, with one colour per variant, and small."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.report import html, png
from orchestrator.report.bars import staleness_chart, time_chart
from orchestrator.report.curves import loss_chart, metric_chart, resolution
from orchestrator.report.figures import Chart, end_labels, log_ticks, short
from orchestrator.report.pace import pace_chart
from orchestrator.report.palette import colours
from orchestrator.report.series import loss_curve, staleness_shares, usage
from orchestrator.report.spending import spending, spending_chart, spending_table
from orchestrator.report.stored import StoredRun, load_run
from orchestrator.report.study import Study, load_study
from orchestrator.report.timelines import usage_chart
from orchestrator.results import Judged, Parts, RunResult, Seconds
from orchestrator.store.metrics import MetricsWriter
from tests.unit.report.test_html import visible
from tests.unit.simulated_runs import a_run, some_runs
from tests.unit.stored_runs import STEPS, store_comparison, store_run

PARTS_OR_TASKS = ("Timelines", "Where the time went")
"""Charts whose colours are not those of variants."""

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.


def charts(made: Study) -> list[Chart]:
    builders = (loss_chart, metric_chart, time_chart, spending_chart, staleness_chart, usage_chart)
    return [build(made) for build in builders]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("made") / "c"
    for mode, slow in (("sync", 10.0), ("async", 4.0)):
        for seed in range(3):
            parts = Parts(compute=slow, callbacks=slow * 0.2, other=slow * 0.1)
            first = Seconds(launch=3.0, to_first_step=8.0, training=slow * 1.1, elapsed=slow * 1.3, parts=parts)
            store_run(folder, mode, seed, slow + seed / 10, hosts=True, gpu="NVIDIA <b>H100</b>", phases=first)
    return load_study(folder)


def test_loss_is_averaged_in_bins(tmp_path: Path) -> None:
    store_run(tmp_path / "c", "sync", 0, training=20.0)
    run = load_run(tmp_path / "c" / "runs" / "sync-s0")
    losses = [loss for (loss,) in run.rows("SELECT loss FROM steps ORDER BY step")]
    by_step = loss_curve(run, "updates", 20)
    assert by_step.x[1] == pytest.approx(np.mean(range(20, 40)))
    assert by_step.y[1] == pytest.approx(np.mean(losses[19:39]))
    assert loss_curve(run, "samples", 1000).x == pytest.approx([50 * x for x in by_step.x])
    assert loss_curve(run, "seconds", 2.0).x[-1] <= 20.0


def test_steps_that_a_later_attempt_repeated_count_once(tmp_path: Path) -> None:
    store = MetricsWriter(tmp_path)
    for attempt, first, last, loss in ((1, 1, 10, 1.0), (2, 6, 12, 2.0)):
        rows = [(attempt, step, 0, float(step), loss, None) for step in range(first, last + 1)]
        store._insert("steps", rows)
    store.close()
    run = StoredRun(a_run("sync", 0, 1.0), tmp_path)
    assert loss_curve(run, "updates", 1).y == [1.0] * 5 + [2.0] * 7


def test_staleness_shares_and_usage(made: Study) -> None:
    runs = list(made.modes["async"])
    shares = staleness_shares(runs)
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert staleness_shares(list(made.modes["sync"])) == {}
    used = usage(runs[0], 10)
    assert set(used.cpu_percent) == {"worker:0", "worker:1", "chief:0", "ps:0", "evaluator:0"}
    assert len(used.cpu_percent["worker:0"].x) <= 12
    assert used.memory_gib["worker:0"].y[0] == pytest.approx(0.5, rel=0.1)
    assert used.network_mib_per_s["ps:0"].y[0] == pytest.approx(3e6 / 2**20)
    assert set(used.gpu_percent) == {f"worker:{i} NVIDIA <b>H100</b> GPU-0123" for i in (0, 1)}


def test_figures_are_valid_plotly(made: Study) -> None:
    import plotly.graph_objects as go

    drawn = charts(made)
    assert not any(chart.is_empty for chart in drawn)
    for chart in drawn:
        expected = math.prod(len(choice.options) for choice in chart.choices)
        assert len(chart.figures) == expected, chart.title
        for figure in chart.figures.values():
            go.Figure(figure)  # raises on an attribute or a value that Plotly does not know
            json.dumps(figure, allow_nan=False)


def test_a_variant_has_one_colour_in_all_charts(made: Study) -> None:
    blue, orange = colours(made.modes).values()
    assert blue != orange
    text = json.dumps([chart.figures for chart in charts(made) if chart.title not in PARTS_OR_TASKS])
    assert blue in text
    assert orange in text
    assert len(set(re.findall(r'"color": "(#\w{6})"', text)) - {blue, orange}) <= 5  # greys and inks


def test_parts_stand_side_by_side_and_launch_apart(made: Study) -> None:
    found = spending(made.results["sync"])
    assert found.elapsed == pytest.approx(13.0)
    assert found.launch == 3.0
    assert (found.parts["compute"], found.parts["callbacks"], found.parts["exchange"]) == (10.0, 2.0, None)
    head, rows = spending_table(made.results, short=True)
    assert head == ["variant", "elapsed", "compute", "callbacks", "other", "launch"]
    assert rows[0] == ["sync", "13.0 s", "10.0 s", "2.00 s", "1.00 s", "3.00 s"]
    bars = spending_chart(made).figures[""]["data"]
    assert [bar["name"] for bar in bars] == ["compute", "callbacks", "other"], "no bar is a launch's"


def test_staleness_over_time_where_it_was_measured(made: Study) -> None:
    figures = pace_chart(made).figures
    assert {trace["meta"] for trace in figures["staleness"]["data"]} == {"async"}


def test_epochs_are_an_axis_if_every_run_counted_them(tmp_path: Path) -> None:
    for epoch, against in ((None, False), (500, True)):
        study = load_study(store_comparison(tmp_path / str(epoch), seeds=1, samples_per_epoch=epoch))
        assert ("epochs" in loss_chart(study).figures) is against
    figure = loss_chart(study).figures["epochs"]
    last = max(x for trace in figure["data"] for x in trace["x"] if x is not None)
    assert last == pytest.approx(STEPS * 50 / 500, rel=0.02)


def test_names_at_the_ends_of_lines_do_not_overlap() -> None:
    lines = [{"x": [0, 10], "y": [0, 1.0], "meta": f"v{i}", "line": {"color": "#000"}} for i in range(7)]
    notes = end_labels(lines, (0.0, 2.0), log=False)
    assert [note["text"] for note in notes] == ["v0", "v1", "v2", "v3", "v4"]  # no room for two more
    assert sorted(note["yshift"] for note in notes) == [-26, -13, 0, 13, 26]


def test_charts_without_measurements_are_empty() -> None:
    bare = RunResult(run_id="r", job="j", mode="sync", seed=0, status="failed", tasks={})
    nothing = Study("n", "j", {"sync": [StoredRun(bare)]})
    assert all(chart.is_empty for chart in charts(nothing))
    assert png.charts(nothing) == {}
    page = html.page(nothing)
    assert "not available" in page
    assert "None" not in visible(page)
    html.page(Study("n", "j", {"sync": [], "async": []}))


def test_charts_of_many_runs_stay_small() -> None:
    many = Study("m", "j", {f"v{i}": [StoredRun(run) for run in some_runs(f"v{i}", 1, 10)] for i in range(8)})
    for figures in (3, 15):
        lines = 8 * (10 + 4) * 2
        assert resolution(many, figures) >= 24
        assert resolution(many, figures) * lines * figures < 130_000


def test_numbers_of_a_figure_are_short_and_finite() -> None:
    assert short([1.234567, math.nan, math.inf, None, 0]) == [1.2346, None, None, None, 0]
    assert list(log_ticks((0.015, 2.5)).values()) == ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]
    assert len(log_ticks((1e-9, 1e3))) <= 13


def test_what_had_been_predicted_is_a_section_of_its_own(made: Study) -> None:
    assert "Predicted and measured" not in html.page(made)
    first = next(iter(made.modes))
    rows = (
        Judged(variant=first, quantity="update_seconds", predicted=0.11, measured=0.1, error=0.1, covered=True),
        Judged(variant=first, quantity="seconds_to_target", reason="not every run reached the target"),
    )
    assert made.comparison is not None
    judged = replace(made, comparison=made.comparison.model_copy(update={"predictions": rows}))
    page = html.page(judged)
    for text in ("Predicted and measured", "+10 %", "update seconds: 10 %", "not every run reached the target"):
        assert text in page, text
