"""Pages in a real browser: of runs that succeeded, were resumed, failed or ended with NaN, and of a sweep."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.report import sweep, write_reports
from orchestrator.results import FailureRecord, Finding, Stability, Sweep, Trial
from orchestrator.store.metrics import METRICS
from tests.integration.chromium_pipe import Chromium
from tests.unit.stored_runs import STEPS, store_run

HALF = STEPS // 2
NAN = Finding(kind="nan", step=HALF, symptom=f"the loss is NaN at step {HALF}", remedies=("lower the learning rate",))


def whole(folder: Path) -> Path:
    store_run(folder, "sync", 0, 10.0, hosts=True)
    return folder / "runs" / "sync-s0"


def resumed(folder: Path) -> Path:
    """A worker was killed at half time; the second half began 34.5 s later, from the checkpoint before."""
    killed = FailureRecord(task="worker:1", kind="infrastructure", attempt=1, summary="it was killed by SIGKILL")
    store_run(folder, "sync", 0, 10.0, hosts=True, attempts=2, failures=(killed,))
    path = folder / "runs" / "sync-s0"
    events: list[tuple[str, str | None, dict[str, Any]]] = [
        ("checkpoint", "worker:0", {"step": HALF // 2, "clock": 2.75}),
        ("failure", "worker:1", {"summary": "it was killed by SIGKILL"}),
        ("goes_on", None, {"step": HALF, "clock": 40.0, "samples": 5000}),
    ]
    with sqlite3.connect(path / METRICS) as database:
        database.execute("UPDATE steps SET attempt = 2, clock = clock + 34.5 WHERE step > ?", (HALF,))
        for i, (kind, task, detail) in enumerate(events):
            database.execute("INSERT INTO events VALUES (?, 1, ?, ?, ?)", (1e9 + i, kind, task, json.dumps(detail)))
    return path


def failed(folder: Path) -> Path:
    """It ended before anything was evaluated, with a traceback in its log."""
    failure = FailureRecord(task="worker:0", kind="user", attempt=1, summary="no such layer", log="logs/worker-0.log")
    changes = {"status": "failed", "stop_reason": "error", "final": {}, "steps": 3, "failures": (failure,)}
    store_run(folder, "sync", 0, None, **changes)
    path = folder / "runs" / "sync-s0"
    (path / "logs" / "worker-0.log").write_text("Traceback (most recent call last):\nValueError: no such layer\n")
    with sqlite3.connect(path / METRICS) as database:
        database.execute("DELETE FROM steps WHERE step > 3")
        database.execute("DELETE FROM evaluations")
    return path


def not_a_number(folder: Path) -> Path:
    lost = {"val_accuracy": None, "val_loss": None}
    found = Stability(findings=(NAN,))
    store_run(folder, "sync", 0, None, status="failed", stop_reason="nan", final=lost, stability=found)
    path = folder / "runs" / "sync-s0"
    with sqlite3.connect(path / METRICS) as database:
        database.execute("UPDATE steps SET loss = ? WHERE step >= ?", (np.nan, HALF))
    return path


SAID = {
    whole: ("Reached val_accuracy >= 0.95 after 10.0 s",),
    resumed: ("killed by SIGKILL", "training continued here"),
    failed: ("Failed", "ValueError: no such layer"),
    not_a_number: ("the loss is NaN at step", "lower the learning rate"),
}
CLIPPED = (
    "[...document.querySelectorAll('h1,h2,h3,p,li,dt,dd,th,td,summary,button,figcaption')]"
    ".filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML.slice(0, 120))"
)


@pytest.mark.parametrize("kind", SAID, ids=lambda kind: kind.__name__)
def test_each_kind_has_its_page(browser: Chromium, tmp_path: Path, kind: Any) -> None:
    path = kind(tmp_path)
    write_reports(path)
    markdown = (path / "report.md").read_text()
    for width, theme in ((1280, "light"), (390, "dark")):
        browser.open(path / "report.html", width, theme=theme)
        assert browser.complaints == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(CLIPPED) == []
        text = browser.evaluate("document.body.innerText + document.body.innerHTML")
        for said in SAID[kind]:
            assert said in text
            assert said in markdown.replace("\\", "") or "continued here" in said


def test_a_sweep_has_its_page(browser: Chromium, tmp_path: Path) -> None:
    trials = [
        Trial(
            number=number,
            run_id=f"s-t{number:03}",
            params={"learning_rate": 10 ** (number / 7 - 4), "hidden": (64, 128)[number % 2], "cell": "LSTM"},
            state="pruned" if number % 4 == 3 else "finished",
            value=0.9 - 0.01 * (number - 12) ** 2 / 9,
            steps=100,
            elapsed_seconds=3.5,
        )
        for number in range(20)
    ]
    searched = {"learning_rate": "log:1e-4..1e-1", "hidden": "64,128", "cell": "LSTM,GRU"}
    made = Sweep(
        sweep_id="s", job="digits", metric="val_accuracy", direction="maximize", params=searched, wanted=24,
        trials=tuple(trials), best=12, command="regatta run runs/s/best.yaml", importance={"learning_rate": 0.9},
    )  # fmt: skip
    page = tmp_path / "report.html"
    page.write_text(sweep.page(made))
    for width, theme in ((1280, "light"), (390, "dark")):
        browser.open(page, width, theme=theme)
        assert browser.complaints == []
        assert browser.requests == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(CLIPPED) == []
        drawn = "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.scatterlayer path').length)"
        assert browser.evaluate(drawn) == [20, 20, 20]
        assert "Best val_accuracy: 0.9000, in trial 12." in browser.evaluate("document.body.innerText")
    first = "document.querySelector('#trials tbody tr').innerText.split(/\\s/)[0]"
    assert browser.evaluate(first) == "12"
    browser.evaluate("document.querySelector('#trials th').click()")
    browser.evaluate("document.querySelector('#trials th button')?.click()")
    assert browser.evaluate(first) in ("0", "19")
