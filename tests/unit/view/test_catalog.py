"""The list of runs, their latest, and their tasks' logs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import UsageError
from orchestrator.results import RunResult
from orchestrator.store.directory import RESULT, to_json
from orchestrator.store.locks import lock
from orchestrator.view.catalog import COLUMNS, latest, list_runs
from orchestrator.view.task_logs import print_logs
from tests.conftest import regatta

START = 1_795_000_000


def result(**changes: Any) -> RunResult:
    fields = {"run_id": "r", "job": "digits", "mode": "sync", "seed": 0, "status": "succeeded", "tasks": {"worker": 2}}
    return RunResult(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run's folder, each later by an hour than the one before."""
    count = 0

    def write(name: str, ended: RunResult | str | None = None, **spec: Any) -> Path:
        nonlocal count
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text(yaml.safe_dump({"job": "digits"} | spec))
        if ended is not None:
            (folder / RESULT).write_text(ended if isinstance(ended, str) else to_json(ended.to_json()))
        at = START + 3600 * count
        for path in (folder / "spec.yaml", folder, folder.parent):
            os.utime(path, (at, at))
        count += 1
        return folder

    return write


def test_finished_unfinished_and_broken_runs_are_listed(tmp_path: Path, written: Callable[..., Path]) -> None:
    done = result(steps=10, seconds={"training": 2.0, "elapsed": 9.5}, final={"val_accuracy": 0.975, "val_loss": 0.1})
    written("done", done)
    written("going", mode="async", workers=3)
    written("broken", "{")
    reached = {"metric": "val_loss", "op": "<", "value": 1.0, "reached": True}
    written("strange", result(target=reached, final={"a": 1.0, "val_loss": 0.25}))
    written("compared/runs/sync-s0")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").write_text("")

    done_, going, broken, strange, compared = listed = list_runs(tmp_path)
    assert [Path(entry.path).name for entry in listed] == ["done", "going", "broken", "strange", "compared"]
    assert [entry.kind for entry in listed] == ["run", "run", "run", "run", "comparison"]
    assert done_.outcome == "done, 10 steps in 9.50 s"
    assert (done_.mode, done_.workers, done_.status) == ("sync", 2, "succeeded")
    assert (done_.metric, done_.value, done_.elapsed) == ("val_accuracy", 0.975, 9.5)
    assert (going.job, going.mode, going.workers, going.status) == ("digits", "async", 3, "unfinished")
    assert (going.metric, going.value, going.elapsed) == (None, None, None)
    assert broken.status == "unreadable"
    assert broken.outcome.startswith("unreadable: ")
    assert (strange.metric, strange.value) == ("val_loss", 0.25)
    assert compared.status == "unfinished"
    assert dict(zip(COLUMNS, going.cells(), strict=True))["elapsed"] == "-"

    held = lock(tmp_path / "going")
    assert list_runs(tmp_path)[1].status == "running"
    held.close()


def test_runs_are_filtered_and_sorted(tmp_path: Path, written: Callable[..., Path]) -> None:
    for name, mode, accuracy in [("a", "sync", 0.7), ("b", "async", 0.9), ("c", "sync", 0.8)]:
        written(name, result(mode=mode, final={"val_accuracy": accuracy}))
    written("d")

    def names(**options: Any) -> list[str]:
        return [Path(entry.path).name for entry in list_runs(tmp_path, **options)]

    assert names() == ["a", "b", "c", "d"]
    assert names(mode="sync") == ["a", "c"]
    assert names(status="succeeded", sort="metric") == ["a", "c", "b"]
    assert names(sort="metric") == ["a", "c", "b", "d"]
    assert names(job="mnist") == []
    with pytest.raises(UsageError, match=r"'speed' is no column\. The columns are date, run"):
        names(sort="speed")


def test_the_latest_run_and_the_latest_with_work_left(tmp_path: Path, written: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"No run in .*: name a run's folder"):
        latest(tmp_path)
    unfinished = written("early")
    done = written("late", result())
    assert latest(tmp_path) == done
    assert latest(tmp_path, resumable=True) == unfinished


def test_a_command_without_a_name_takes_the_latest_run(tmp_path: Path, written: Callable[..., Path]) -> None:
    (written("runs/first") / "logs").mkdir()
    logs = written("runs/second") / "logs"
    logs.mkdir()
    (logs / "worker-0.log").write_text("of the second\n")
    done = regatta("logs", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "worker:0 | of the second\n")
    assert "The latest run: runs/second" in done.stderr
    assert regatta("logs", "runs/second", "worker:0", cwd=tmp_path).stdout == "of the second\n"
    missing = regatta("logs", "third", cwd=tmp_path)
    assert missing.returncode == 2
    assert "third is not the folder of a run. For a submitted run, say where: --address" in missing.stderr


def test_logs_are_followed_to_the_end_of_the_run(written: Callable[..., Path]) -> None:
    run = written("run")
    held = lock(run)
    (run / "logs").mkdir()
    first = run / "logs" / "worker-0.log"
    first.write_bytes("one\nhalf \xe2".encode("latin-1"))
    lines: list[str] = []
    grown = threading.Event()

    def grow(_: float) -> None:
        if grown.is_set():
            held.close()
            return
        grown.set()
        with first.open("ab") as file:
            file.write("\x82\xac and more\nlast".encode("latin-1"))
        (run / "logs" / "chief-0.log").write_text("late\n")

    print_logs(run, None, lines.append, follow=True, sleep=grow)
    assert [line for line in lines if line.startswith("worker:0")] == [
        "worker:0 | one",
        "worker:0 | half \u20ac and more",
        "worker:0 | last",
    ]
    assert "chief:0  | late" in lines
    with pytest.raises(UsageError, match=r"No log of ps-0 in .*There are: chief:0, worker:0"):
        print_logs(run, "ps-0", lines.append)
