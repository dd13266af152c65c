"""Reports of results that nobody trained: nothing is missing, nothing is invented, and no name is obeyed."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import UsageError
from orchestrator.report import rebuild, show, write_reports
from orchestrator.report.joining import study
from orchestrator.report.markdown import escape, markdown
from orchestrator.report.terminal import print_comparison, print_run
from orchestrator.results import Comparison, FailureRecord, Finding, ModeResults, RunResult, Stability
from orchestrator.store.directory import write_comparison
from orchestrator.store.folders import load_comparison
from orchestrator.verdict import judge, summarize
from tests.unit.simulated_runs import a_run, some_runs
from tests.unit.stored_runs import store_comparison, store_run

# Not marked `unit`: it takes seconds, and the marked set has thirty.

HOSTILE = "<img src=x onerror=alert(1)>[red]|`x`\x1b[2J\u202e](http://evil.example)"


def printed(show_it: Callable[[Console], None], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    show_it(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def compared(**modes: list[RunResult]) -> Comparison:
    names = list(modes)
    return Comparison(
        comparison_id="made-up",
        job="digits",
        baseline=names[0],
        seeds=tuple(sorted({run.seed for runs in modes.values() for run in runs})),
        modes={name: ModeResults(runs=tuple(runs), summary=summarize(runs)) for name, runs in modes.items()},
        verdict=judge(modes, names[0]),
    )


def hostile() -> Comparison:
    finding = Finding(kind=HOSTILE, symptom=HOSTILE, evidence=HOSTILE, causes=(HOSTILE,), remedies=(HOSTILE,))
    failure = FailureRecord(task=HOSTILE, kind="user", attempt=1, summary=HOSTILE, log=HOSTILE)
    bad = [
        a_run(HOSTILE, seed, 3.0, job=HOSTILE, stability=Stability(findings=(finding,)), failures=(failure,))
        for seed in range(3)
    ]
    made = compared(sync=some_runs("sync", 10, 3), **{HOSTILE: bad})
    return made.model_copy(update={"job": HOSTILE, "comparison_id": HOSTILE})


@pytest.mark.parametrize("width", [80, 200])
def test_terminal_comparison_fits_and_says_all(width: int) -> None:
    fast = some_runs("async", 4)
    missed = [a_run("async-lr", seed, None if seed < 3 else 5.0) for seed in range(5)]
    comparison = compared(sync=some_runs("sync", 10), **{"async": fast, "async-lr": missed})
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
def test_terminal_obeys_no_name(width: int) -> None:
    comparison = hostile()
    text = printed(lambda console: print_comparison(comparison, console), width)
    text += printed(lambda console: print_run(comparison.modes[HOSTILE].runs[0], console), width)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J" in re.sub(r"\s", "", text)
    assert "[red]" in re.sub(r"\s", "", text)
    assert max(map(len, text.splitlines())) <= width


def test_terminal_run_without_a_single_measurement() -> None:
    bare = RunResult(run_id="r", job="digits", mode="sync", seed=0, status="failed", tasks={"worker": 1})
    text = printed(lambda console: print_run(bare, console), 80)
    assert "failed" in text
    assert "not measured" in text
    assert "not available" in text
    assert not re.search(r"\b(None|nan|0 steps|0\.00)\b", text)


@pytest.mark.parametrize(
    "name",
    [
        "a|b",
        "`x`",
        "<b>",
        "[a](b)",
        "![a](b)",
        "**x**",
        "_x_",
        "~~x~~",
        "$x$",
        "&lt;",
        "#5",
        "www.x.y",
        "@you",
        ":tada:",
    ],
)
def test_markdown_escape(name: str) -> None:
    escaped = escape(name)
    bare = re.sub(r"\\.", "", escaped)
    assert not re.search(r"[|`<*~$]|&(?!#\d+;)|\]\(|://|www\.|@|(?<!&)#|:\w+:|\b_\w", bare), escaped
    assert "\n" not in escape("a\n# b")


def test_markdown_holds_the_numbers_and_no_foreign_markup(tmp_path: Path) -> None:
    store_comparison(tmp_path / "c", {"sync": 10.0, "async": 4.0})
    text = markdown(study(tmp_path / "c"), ["charts/loss.png"])
    assert text.startswith("# simulated: sync, async\n")
    assert "| async | 3 | 3/3 |" in text
    assert "![loss](charts/loss.png)" in text
    assert "    workers: 2" in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1

    write_comparison(tmp_path / "c", hostile())
    shutil.rmtree(tmp_path / "c" / "runs")
    text = markdown(study(tmp_path / "c"))
    assert "<img" not in re.sub(r"\\.", "", text)
    assert "](" not in re.sub(r"\\.", "", text)
    assert "http://" not in text


def test_write_reports_of_a_comparison(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c", hosts=True)
    written = write_reports(folder)
    names = {str(path.relative_to(folder)) for path in written}
    assert names == {
        "report.md",
        "report.html",
        "comparison.json",
        "charts/loss-vs-seconds.png",
        "charts/metric-vs-seconds.png",
        "charts/time-to-target.png",
    }
    assert all(path.stat().st_size > 500 for path in written)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written if path.suffix == ".png")
    assert not list(folder.rglob(".*"))
    assert load_comparison(folder).verdict.winner == "async"

    stored = load_comparison(folder).model_copy(update={"comparison_id": "kept"})
    write_comparison(folder, stored)
    assert folder / "comparison.json" not in write_reports(folder)
    assert load_comparison(folder) == stored

    store_run(folder, "sync", 8, 10.0)
    assert folder / "comparison.json" in write_reports(folder)
    assert 8 in load_comparison(folder).seeds


def test_write_reports_of_one_run(tmp_path: Path) -> None:
    store_run(tmp_path / "c", "sync", 0)
    folder = tmp_path / "c" / "runs" / "sync-s0"
    names = {str(path.relative_to(folder)) for path in write_reports(folder)}
    assert names == {"report.md", "report.html", "charts/loss-vs-seconds.png", "charts/metric-vs-seconds.png"}
    assert "Verdict" not in (folder / "report.html").read_text().partition("<script")[0]


def test_write_reports_of_joined_folders(tmp_path: Path) -> None:
    monday = store_comparison(tmp_path / "monday", {"sync": 10.0})
    tuesday = store_comparison(tmp_path / "tuesday", {"async": 4.0})
    with pytest.raises(UsageError, match=r"^out: "):
        write_reports(monday, tuesday)
    with pytest.raises(UsageError, match="holds runs of its own"):
        write_reports(monday, tuesday, out=monday)
    write_reports(monday, tuesday, out=tmp_path / "both")
    assert not (monday / "report.md").exists()
    before = (tmp_path / "both" / "report.md").read_text()
    write_reports(tmp_path / "both")  # finds the runs again
    assert (tmp_path / "both" / "report.md").read_text() == before


def test_show_prints_and_returns_the_document(tmp_path: Path) -> None:
    folder = store_comparison(tmp_path / "c")
    document, show_it = show(folder)
    assert document["verdict"]["winner"] == "async"
    text = printed(show_it, 100)
    assert "Verdict: Use async" in text
    assert f"Wrote {folder / 'report.html'}" in text
    document, show_it = show(folder / "runs" / "sync-s0")
    assert document["mode"] == "sync"
    assert "seed 0" in printed(show_it, 100)


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a run nor a comparison"):
        write_reports(tmp_path)
    with pytest.raises(UsageError, match="no run to report"):
        rebuild([tmp_path])
    (tmp_path / "comparison.json").write_text('{"schema": 1}')
    with pytest.raises(UsageError, match="comparison_id"):
        write_reports(tmp_path)
