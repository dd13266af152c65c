"""Marks of what happened to a run, gaps where nothing was trained, and the pace of training."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.curves import loss_chart, metric_chart
from orchestrator.report.happened import Mark, happened
from orchestrator.report.marks import absences, split
from orchestrator.report.pace import pace_chart
from orchestrator.report.series import Curve, extent, learning_rate_curve, loss_curve, rate_curve
from orchestrator.report.stored import load_run
from orchestrator.report.stretches import samples_at
from orchestrator.report.study import load_study
from orchestrator.store.metrics import METRICS
from tests.unit.stored_runs import STEPS, store_run

pytestmark = pytest.mark.unit

TRAINING = 11.0
EVENTS: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
    ("checkpoint", "worker:0", {"step": 50, "clock": 2.75}),
    ("failure", "worker:1", {"summary": "its process was killed by SIGKILL"}),
    ("goes_on", None, {"step": 100, "clock": 40.0, "samples": 5000}),
    ("finding", None, {"finding": "spike", "symptom": "the loss rose 4x", "step": 120, "clock": 41.0}),
    ("rejoined", "worker:1", {"step": 140}),
    ("leg_finished", "worker:0", {"stopped": "callback"}),
)


def restarted(folder: Path) -> Path:
    """A run whose second half an attempt trained that began 34.5 s later."""
    store_run(folder, "sync", 0, 10.0)
    path = folder / "runs" / "sync-s0"
    with sqlite3.connect(path / METRICS) as database:
        half = STEPS // 2
        database.execute("UPDATE steps SET attempt = 2, clock = clock + 34.5 WHERE step > ?", (half,))
        database.execute("DELETE FROM events WHERE kind = 'leg_started'")
        for i, (kind, task, detail) in enumerate(EVENTS):
            database.execute("INSERT INTO events VALUES (?, 1, ?, ?, ?)", (1e9 + i, kind, task, json.dumps(detail)))
        rates = [(1, 0, step, 1, 0.1, json.dumps({"learning_rate": 1 / step}), step / 10) for step in (1, 2, 4)]
        database.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)", rates)
    return path


def test_what_happened_is_told_where_it_happened(tmp_path: Path) -> None:
    run = load_run(restarted(tmp_path))
    marks, breaks = happened(run)
    assert breaks == (40.0,)
    last = run.rows("SELECT MAX(clock) FROM steps")[0][0]
    worker_back = run.rows("SELECT clock FROM steps WHERE step = 140")[0][0]
    assert marks == (
        Mark("checkpoint", 50, 2.75, "checkpoint at step 50"),
        Mark("restart", 100, 40.0, "training continued here, after worker:1: its process was killed by SIGKILL"),
        Mark("finding", 120, 41.0, "spike: the loss rose 4x"),
        Mark("worker", 140, worker_back, "worker:1 is back"),
        Mark("end", STEPS, last, "ended early: callback"),
    )


def test_a_run_that_is_resumed_names_no_failure_of_before(tmp_path: Path) -> None:
    path = restarted(tmp_path)
    with sqlite3.connect(path / METRICS) as database:
        for i, (kind, detail) in enumerate((("driver", {"pid": 1}), ("goes_on", {"step": 150, "clock": 43.0}))):
            database.execute("INSERT INTO events VALUES (?, 2, ?, NULL, ?)", (2e9 + i, kind, json.dumps(detail)))
    assert happened(load_run(path)).marks[-1] == Mark(
        "restart", 150, 43.0, "training continued here, after its driver ended"
    )


def test_a_change_of_the_mode_is_told_with_what_it_took(tmp_path: Path) -> None:
    path = restarted(tmp_path)
    with sqlite3.connect(path / METRICS) as database:
        database.execute("DELETE FROM events WHERE kind = 'failure'")
        detail = json.dumps({"step": 100, "clock": 36.5, "to": "async", "stage": 1, "of": "switch:0.5"})
        database.execute("INSERT INTO events VALUES (?, 1, 'switched', NULL, ?)", (1e9 + 1, detail))
        switched = json.dumps({"stopped": "switched"})
        database.execute("INSERT INTO events VALUES (?, 1, 'leg_finished', 'worker:0', ?)", (1e9 + 0.5, switched))
    marks, breaks = happened(load_run(path))
    assert breaks == (40.0,)
    assert marks[1] == Mark("change", 100, 40.0, "switched to async at step 100, which took 3.5 s")
    assert [mark.kind for mark in marks if mark.kind == "end"] == ["end"]  # of its last leg


def test_steps_of_another_mode_have_other_samples(tmp_path: Path) -> None:
    """The second half has a fifth of the samples: 10 of each step instead of 50."""
    path = restarted(tmp_path)
    half = STEPS // 2
    with sqlite3.connect(path / METRICS) as database:
        for attempt, before, samples, batch in ((1, 0, 0, 50), (2, half, 50 * half, 10)):
            leg = json.dumps({"era": attempt, "steps_before": before, "samples_before": samples, "global_batch": batch})
            database.execute(
                "INSERT INTO events VALUES (?, ?, 'leg_started', 'worker:0', ?)", (2e9 + attempt, attempt, leg)
            )
    run = load_run(path)
    assert samples_at(run, half - 1) == 50 * (half - 1)
    assert samples_at(run, STEPS) == 50 * half + 10 * (STEPS - half)
    assert extent(run, "samples") == 50 * half + 10 * (STEPS - half)
    curve = loss_curve(run, "samples", 100.0)
    assert curve.x == sorted(curve.x)
    assert curve.x[-1] <= extent(run, "samples")
    assert sum(x > 50 * half for x in curve.x) == pytest.approx(10 * (STEPS - half) / 100, abs=1)


def test_no_line_is_drawn_across_a_restart(tmp_path: Path) -> None:
    study = load_study(restarted(tmp_path))
    by_seconds = loss_chart(study).figures["seconds"]["data"]
    line, marks = by_seconds[0], by_seconds[-1]
    gap = line["y"].index(None)
    assert line["x"][gap - 1] < 6
    assert line["x"][gap + 1] > 40
    assert marks["marker"]["symbol"] == ["line-ns-open", "x", "triangle-up", "diamond", "square"]
    assert marks["x"][1] == 40
    assert "spike: the loss rose 4x" in marks["text"][2]
    by_updates = loss_chart(study).figures["updates"]["data"]
    assert None not in by_updates[0]["y"]  # no update was left out
    assert by_updates[-1]["x"] == [50, 100, 120, 140, STEPS]


def test_the_pace_is_that_between_restarts(tmp_path: Path) -> None:
    run = load_run(restarted(tmp_path))
    rates = rate_curve(run, 1.0)
    expected = STEPS / run.rows("SELECT MAX(clock) FROM steps WHERE attempt = 1")[0][0] / 2 * 50
    assert rates.y == pytest.approx([expected] * len(rates.y), rel=0.01)
    assert learning_rate_curve(run) == Curve([0.1, 0.2, 0.4], [1.0, 0.5, 0.25])
    chart = pace_chart(load_study(run.path or tmp_path))
    assert list(chart.figures) == ["rate", "learning"]


def test_a_learning_rate_that_stays_is_no_chart(tmp_path: Path) -> None:
    store_run(tmp_path, "sync", 0, 10.0)
    chart = pace_chart(load_study(tmp_path / "runs" / "sync-s0"))
    assert list(chart.figures) == [""]
    assert not chart.choices


@pytest.mark.parametrize("text", ["{", "[]", '{"step": "x", "clock": null}', '{"clock": "1"}'])
def test_damaged_events_are_no_marks(tmp_path: Path, text: str) -> None:
    store_run(tmp_path, "sync", 0, 10.0)
    path = tmp_path / "runs" / "sync-s0"
    with sqlite3.connect(path / METRICS) as database:
        for kind in ("goes_on", "finding", "checkpoint", "rejoined"):
            database.execute("INSERT INTO events VALUES (1e9, 1, ?, NULL, ?)", (kind, text))
    assert happened(load_run(path)) == ((), ())


def test_curves_are_split_at_breaks() -> None:
    curve = Curve([0, 1, 2, 8, 9], [5, 6, 7, 8, 9])
    assert split(curve, ()) == ([0, 1, 2, 8, 9], [5, 6, 7, 8, 9])
    assert split(curve, (8.0,)) == ([0, 1, 2, 8, 8, 9], [5, 6, 7, None, 8, 9])
    assert split(curve, (-1.0, 3.0, 4.0, 20.0)) == ([0, 1, 2, 8, 8, 9], [5, 6, 7, None, 8, 9])
    assert absences(curve) == [8]
    assert absences(Curve([0, 1, 2, 3], [1] * 4)) == []
    assert absences(Curve([], [])) == []


@pytest.mark.parametrize(("target", "shown"), [("val_accuracy>=0.95", True), ("val_accuracy>=20", False)])
def test_a_target_far_from_what_was_measured_does_not_squash_its_chart(
    tmp_path: Path, target: str, shown: bool
) -> None:
    value = float(target.partition("=")[2])
    store_run(tmp_path, "sync", 0, 10.0, target=_target(value))
    layout = metric_chart(load_study(tmp_path / "runs" / "sync-s0")).figures["seconds|0"]["layout"]
    assert ("shapes" in layout) is shown
    low, high = layout["yaxis"]["range"]
    assert high - low < 1


def _target(value: float) -> dict[str, Any]:
    return {"metric": "val_accuracy", "op": ">=", "value": value, "reached": False}
