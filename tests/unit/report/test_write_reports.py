"""The files of a report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.report import write_reports
from orchestrator.store.directory import write_comparison
from orchestrator.store.folders import load_comparison
from tests.unit.stored_runs import store_comparison, store_run

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.


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


def test_reports_without_matplotlib_have_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = store_comparison(tmp_path / "c")
    assert {path.name for path in write_reports(folder)} == {"report.md", "report.html", "comparison.json"}
    assert "![" not in (folder / "report.md").read_text()


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a run nor a comparison"):
        write_reports(tmp_path)
    (tmp_path / "comparison.json").write_text('{"schema": 1}')
    with pytest.raises(UsageError, match="comparison_id"):
        write_reports(tmp_path)


def test_importing_the_reports_imports_no_drawing_library() -> None:
    names = ["sections", "html", "markdown", "png", "terminal", "study"]
    imports = ", ".join(f"orchestrator.report.{name}" for name in names)
    heavy = "{'plotly', 'matplotlib', 'numpy', 'scipy', 'rich', 'pandas'}"
    code = f"import sys, {imports}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
