"""Comparisons and runs at the terminal: complete, within its width, and safe from control characters."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.report import show
from orchestrator.report.facts import run_facts
from orchestrator.report.terminal import print_comparison, print_run
from orchestrator.results import RunResult
from tests.unit.simulated_runs import a_comparison, a_comparison_named, a_run, some_runs
from tests.unit.stored_runs import store_comparison

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.


HOSTILE = "<img src=x onerror=alert(1)>[red]|`x`\x1b[2J\u202e](http://evil.example)"


def printed(show_it: Callable[[Console], None], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    show_it(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
def test_comparison_is_complete_and_fits_the_width(width: int) -> None:
    fast = some_runs("async", 4)
    missed = [a_run("async-lr", seed, None if seed < 3 else 5.0) for seed in range(5)]
    comparison = a_comparison(sync=some_runs("sync", 10), **{"async": fast, "async-lr": missed})
    text = printed(lambda console: print_comparison(comparison, console), width)
    assert max(map(len, text.splitlines())) <= width
    rows = {line.split()[0]: line for line in text.splitlines() if re.match(r"(sync|async|async-lr) +\d/\d", line)}
    assert set(rows) == {"sync", "async", "async-lr"}
    assert "baseline" in rows["sync"]
    assert "2.5x" in rows["async"]
    assert "2/5" in rows["async-lr"]
    assert "missed" in rows["async-lr"]
    flat = " ".join(text.split())
    assert comparison.verdict.headline in flat
    assert "confidence: high" in flat
    assert all(" ".join(reason.split()) in flat for reason in comparison.verdict.reasons)
    assert all(step in flat for step in comparison.verdict.next_steps)


@pytest.mark.parametrize("width", [80, 200])
def test_names_cannot_control_the_terminal(width: int) -> None:
    comparison = a_comparison_named(HOSTILE)
    text = printed(lambda console: print_comparison(comparison, console), width)
    text += printed(lambda console: print_run(comparison.modes[HOSTILE].runs[0], console), width)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J" in re.sub(r"\s", "", text)
    assert "[red]" in re.sub(r"\s", "", text)
    assert max(map(len, text.splitlines())) <= width


def test_run_without_measurements() -> None:
    bare = RunResult(run_id="r", job="digits", mode="sync", seed=0, status="failed", tasks={"worker": 1})
    text = printed(lambda console: print_run(bare, console), 80)
    assert "failed" in text
    assert "not measured" in text
    assert "not available" in text
    assert not re.search(r"\b(None|nan|0 steps|0\.00)\b", text)


def test_show_returns_the_document_and_prints_it(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    document, show_it = show(folder)
    assert document["verdict"]["winner"] == "async"
    text = printed(show_it, 100)
    assert "Verdict: Use async" in text
    assert f"Wrote {folder / 'report.html'}" in text
    document, show_it = show(folder / "runs" / "sync-s0")
    assert document["mode"] == "sync"
    assert "seed 0" in printed(show_it, 100)


def test_epochs_stand_beside_samples_where_they_were_counted() -> None:
    trained = dict(run_facts(a_run("sync", 0, 10.0, samples=40_000, samples_per_epoch=4_000)))["trained"]
    assert "40,000 samples (10 epochs)" in trained
    assert "epochs" not in dict(run_facts(a_run("sync", 0, 10.0)))["trained"]


def test_what_was_computed_for_nothing_is_told() -> None:
    wasteful = a_run("backup:1", 0, 10.0, steps=200, dropped_gradients=50)
    assert ("dropped", "50 gradients in no update: 25.0 % of the samples") in run_facts(wasteful)
    assert "dropped" not in dict(run_facts(a_run("sync", 0, 10.0, steps=200, dropped_gradients=0)))
