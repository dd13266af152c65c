"""What the charts and the page are made of: the right numbers, valid figures, and nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.report import html, png
from orchestrator.report.bands import band, interpolate, thinned
from orchestrator.report.bars import phase_chart, staleness_chart, time_chart
from orchestrator.report.curves import complete, loss_chart, metric_chart, middle, resolution
from orchestrator.report.figures import Chart, log_ticks, short
from orchestrator.report.joining import study
from orchestrator.report.markup import data_block, el
from orchestrator.report.palette import colours
from orchestrator.report.series import NO_CURVE, Curve, loss_curve, staleness_shares, usage
from orchestrator.report.stored import StoredRun, Study, load_run
from orchestrator.report.timelines import usage_chart
from orchestrator.results import RunResult, Seconds
from orchestrator.store.metrics import METRICS, MetricsWriter
from orchestrator.text import factor, number, plain, seconds, unavailable
from tests.unit.simulated_runs import a_run, some_runs
from tests.unit.stored_runs import store_comparison, store_run

# Not marked `unit`: it takes seconds, and the marked set has thirty.

HOSTILE = "</script><script>window.hacked=1</script><a href='http://evil.example'>%{x}"


def charts(made: Study) -> list[Chart]:
    builders = (loss_chart, metric_chart, time_chart, phase_chart, staleness_chart, usage_chart)
    return [build(made) for build in builders]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("made") / "c"
    for mode, slow in (("sync", 10.0), ("async", 4.0)):
        for seed in range(3):
            first = Seconds(launch=3.0, to_first_step=8.0, training=slow * 1.2)
            store_run(folder, mode, seed, slow + seed / 10, hosts=True, gpu="NVIDIA <b>H100</b>", phases=first)
    return study(folder)


def test_band_is_the_students_interval_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    grid = [float(x) for x in range(11)]
    values = rng.normal(5, 1, (4, 11))
    found = band([Curve(grid, row.tolist()) for row in values], 11)
    low, high = stats.t.interval(0.95, 3, values.mean(0), stats.sem(values, axis=0))
    assert found.x == grid
    np.testing.assert_allclose(found.mean, values.mean(0))
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)
    logged = band([Curve(grid, np.exp(row).tolist()) for row in values], 11, geometric=True)
    np.testing.assert_allclose(np.log(logged.low), low)


def test_band_goes_as_far_as_all_runs_do() -> None:
    short_one, long_one = Curve([0, 4], [1, 1]), Curve([1, 9], [2, 2])
    found = band([short_one, long_one, long_one], 7)
    assert (found.x[0], found.x[-1]) == (1, 4)
    assert band([short_one, long_one], 7).low == []  # of two seeds, no interval
    assert band([short_one, Curve([5, 9], [1, 1])], 7).x == []
    assert band([], 7).x == band([Curve([1], [1])], 7).x == []


def test_a_mean_needs_a_stretch_that_all_runs_share() -> None:
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


def test_loss_is_averaged_in_bins_and_nan_left_out(tmp_path: Path) -> None:
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


def test_figures_are_what_plotly_takes(made: Study) -> None:
    import plotly.graph_objects as go

    drawn = charts(made)
    assert not any(chart.is_empty for chart in drawn)
    for chart in drawn:
        expected = math.prod(len(choice.options) for choice in chart.choices)
        assert len(chart.figures) == expected, chart.title
        for figure in chart.figures.values():
            go.Figure(figure)  # raises on an attribute or a value that Plotly does not know
            json.dumps(figure, allow_nan=False)


def test_a_variant_has_one_colour_everywhere(made: Study) -> None:
    blue, orange = colours(made.modes).values()
    assert blue != orange
    text = json.dumps([chart.figures for chart in charts(made) if chart.title != "Timelines"])
    assert blue in text
    assert orange in text
    assert len(set(re.findall(r'"color": "(#\w{6})"', text)) - {blue, orange}) <= 5  # greys and inks


def test_nothing_measured_makes_no_chart() -> None:
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


def test_numbers_for_json_and_for_people() -> None:
    assert short([1.234567, math.nan, math.inf, None, 0]) == [1.2346, None, None, None, 0]
    assert list(log_ticks((0.015, 2.5)).values()) == ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]
    assert len(log_ticks((1e-9, 1e3))) <= 13
    assert [number(x) for x in (None, 0, 0.97, 277.0, 12345.6, 1e-5)] == [
        "-",
        "0",
        "0.9700",
        "277.0",
        "12,346",
        "1e-05",
    ]
    assert [seconds(x) for x in (None, 0.291, 30, 250, 7380)] == ["-", "0.29 s", "30.0 s", "4 min 10 s", "2 h 03 min"]
    assert unavailable([None]) == "not available"
    assert unavailable(["GPU: no driver", "GPU: no driver", None]) == "not available (no driver)"
    assert unavailable(["GPU: not available (no library)"]) == "not available (no library)"
    assert factor(2.9, 2.8, 3.0) == "2.9x [2.8, 3.0]"
    assert plain("a\x1b[2J\u202eb\ud800\n") == "a\\x1b[2J\\u202eb\\ud800\\x0a"
    assert len(plain("x" * 5000)) == 2000


def test_elements_escape_what_they_are_given() -> None:
    assert el("p", "<b>", title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;</p>'
    assert el("p", el("b", "x"), ["&", None]) == "<p><b>x</b>&amp;</p>"
    block = data_block("d", {"name": "</script><!--"})
    assert block.count("<") == 2
    assert json.loads(block.partition(">")[2].rpartition("<")[0]) == {"name": "</script><!--"}


def visible(page: str) -> str:
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_page_is_whole_and_admits_nothing_else(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"job": HOSTILE, "stop_reason": HOSTILE, "run_id": HOSTILE, "status": "failed"}
    for mode in ("sync", HOSTILE.replace("/", "")):
        for seed in range(2):
            store_run(tmp_path / "c", mode, seed, hosts=True, gpu=HOSTILE, spec={"job": HOSTILE}, **changes)
    page = html.page(study(tmp_path / "c"))
    assert len(page.encode()) < 6_000_000
    # The job's own name is shown as it is; of ours and Plotly's, only XML namespaces are left.
    assert set(re.findall(r"(?:https?|wss?|ftp)://[\w.]+", page)) == {"http://www.w3.org", "http://evil.example"}
    shown = visible(page)
    assert "hacked" in shown
    assert "<a href=&#x27;" not in shown.replace("&lt;a href=&#x27;", "")
    assert not re.search(r"<[^>]*\s(?:on\w+|src)=", shown)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    allowed = re.search(r"script-src ([^;]*);", unescape(page[:2000]))
    assert allowed is not None
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed[1].split() == [f"'sha256-{digest}'" for digest in digests]
    assert "default-src &#x27;none&#x27;" in page


def test_a_run_without_its_database_is_still_reported(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    for file in folder.rglob(METRICS):
        file.unlink()
    page = html.page(study(folder))
    assert "Training loss: not available." in page
    assert "Use async" in page
