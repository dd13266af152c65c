"""Watching a run that another process writes: `regatta watch`, the live view, and what both read."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Launching, Training
from orchestrator.errors import UsageError
from orchestrator.results import Finding, RunResult, Stability
from orchestrator.spec.run import RunSpec
from orchestrator.view import live
from orchestrator.view.feed import Feed
from orchestrator.view.follow import current_run, watch
from orchestrator.view.live import LiveView
from orchestrator.view.outcome import outcome
from tests.conftest import regatta
from tests.made import status
from tests.unit.run_being_written import EVALUATOR, W0, W1, Writing
from workers.messages import Task
from workers.news import Evaluation, GpuSample, ReplicaState, ReplicaStatus, Stamp


def terminal(width: int = 80, height: int = 24, *, is_terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=height, force_terminal=is_terminal, color_system=None, _environ={}
    )


def text(console: Console) -> str:
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return shown


# What is read.


def test_a_feed_follows_what_is_committed(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "run")
    feed = Feed(tmp_path / "run")
    board = feed.update()
    assert (board.job, board.variant, board.seed, board.target) == ("digits", "sync", 1, "val_accuracy>=0.95")
    assert (board.phase, board.step, board.outcome) == ("launching", 0, None)

    writing.reports(W0, ReplicaState.STARTING).reports(W1, ReplicaState.READY).committed()
    board = feed.update()
    assert {task: row.state for task, row in board.rows.items()} == {"worker:0": "starting", "worker:1": "ready"}
    assert board.rows["worker:0"].pid == 4711

    writing.begins().trains(100, loss=2.0).trains(100, loss=1.0)
    assert feed.update().step == 0, "not committed yet"
    writing.committed()
    board = feed.update()
    assert (board.phase, board.step, board.total_steps, board.progress) == ("training", 200, 1000, 0.2)
    assert board.clock == pytest.approx(0.2)
    assert board.samples.per_second == pytest.approx(64_000)
    assert board.eta_seconds == pytest.approx(0.8)
    assert board.loss.last == 1.0
    assert board.rows["worker:0"].step == 200
    assert board.rows["worker:0"].samples.per_second == pytest.approx(32_000), "its half"
    assert board.rows["worker:0"].waiting == pytest.approx(0.1)

    writing.trains(300, loss=0.5).evaluates(0.93).finds().samples(EVALUATOR).committed()
    for _ in range(2):  # nothing is read twice
        board = feed.update()
    assert (board.step, board.evaluation, len(board.findings)) == (500, {"val_accuracy": 0.93}, 1)
    assert board.rows["evaluator:0"].cpu_percent == 71.0
    assert board.rows["evaluator:0"].net_per_s == 3e3
    assert board.notes == ["GPU: not available (NVML library not found)"]


def test_async_workers_serve_their_chief(tmp_path: Path) -> None:
    """Their supervisors know them as ready: they run a TensorFlow server, and the chief sends them work."""
    writing = Writing(tmp_path, mode="async")
    for task in (W0, Task("ps", 0), EVALUATOR):
        writing.reports(task, ReplicaState.READY)
    feed = Feed(tmp_path)
    writing.committed()
    assert {row.state for row in feed.update().rows.values()} == {"ready"}
    writing.begins().committed()
    states = {task: row.state for task, row in feed.update().rows.items()}
    assert states == {"worker:0": "serving", "ps:0": "serving", "evaluator:0": "ready"}


def test_gpus_of_a_task_are_shown_together(tmp_path: Path) -> None:
    gpus = [GpuSample(f"GPU-{i}", "H100", used, 1 << 30, 2 << 30, None, None, None) for i, used in enumerate((40, 60))]
    writing = Writing(tmp_path)
    feed = Feed(tmp_path)
    writing.samples(W0, *gpus).committed()
    row = feed.update().rows["worker:0"]
    assert (row.gpu_percent, row.gpu_memory_bytes) == (50.0, 2 << 30)
    writing.samples(W1, GpuSample("GPU-2", None, None, None, None, None, None, None)).committed()
    assert feed.update().rows["worker:1"].gpu_percent is None


def test_a_rollback_takes_the_step_back(tmp_path: Path) -> None:
    writing = Writing(tmp_path).begins().trains(400).finds("nan", "rolled back to step 300")
    writing.store.event(1, "rollback", step=300)
    writing.committed()
    feed = Feed(tmp_path)
    board = feed.update()
    assert board.findings[0].action == "rolled back to step 300"
    writing.step = 300
    writing.begins().trains(50).committed()
    assert feed.update().step >= 350


def test_how_a_run_ended(tmp_path: Path) -> None:
    Writing(tmp_path / "done").begins().trains(500).ends()
    assert Feed(tmp_path / "done").update().outcome == "done, reached val_accuracy>=0.95 in 2.50 s, 500 steps in 0.10 s"
    died = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    Writing(tmp_path / "died", pid=int(died.stdout)).begins().trains(5).committed()
    board = Feed(tmp_path / "died").update()
    assert (board.phase, board.outcome) == ("interrupted", "its driver ended without writing a result")


def test_a_run_that_was_watched_is_one_file(tmp_path: Path) -> None:
    writing = Writing(tmp_path).begins().trains(5).committed()
    feed = Feed(tmp_path)
    assert feed.update().step == 5
    writing.ends()
    assert [path.name for path in tmp_path.glob("metrics.db*")] == ["metrics.db"]
    assert feed.update().step == 5


def test_a_driver_is_known_by_its_lock(tmp_path: Path) -> None:
    """Its pid may be another process by now: here, this one."""
    writing = Writing(tmp_path).begins().trains(5).committed()
    feed = Feed(tmp_path)
    assert feed.update().outcome is None
    writing.store.close()
    assert feed.update().outcome == "its driver ended without writing a result"


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no spec\.yaml"):
        Feed(tmp_path)
    with pytest.raises(UsageError, match="not the folder of a run or a comparison"):
        current_run(tmp_path)
    (tmp_path / "spec.yaml").write_text("{")
    with pytest.raises(UsageError, match="not a spec in plain YAML"):
        Feed(tmp_path)


# regatta watch.


def test_once_shows_one_picture(tmp_path: Path) -> None:
    Writing(tmp_path).begins().trains(500).committed()
    console = terminal()
    (board,) = watch(tmp_path, console, once=True)
    assert board.step == 500
    assert "50%  32,000 of 64,000 samples" in text(console)


def test_a_finished_run_is_shown_and_left(tmp_path: Path) -> None:
    Writing(tmp_path).begins().trains(500).samples().ends()
    console = terminal()
    watch(tmp_path, console, sleep=pytest.fail)
    assert "done, reached val_accuracy>=0.95" in text(console)
    assert "worker:0" in text(console)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_is_watched_to_its_end(tmp_path: Path, *, is_terminal: bool) -> None:
    writing = Writing(tmp_path).begins().committed()
    left = [lambda: writing.trains(400).committed(), lambda: writing.trains(600).committed(), writing.ends]

    def sleep(_: float) -> None:
        left.pop(0)()

    console = terminal(is_terminal=is_terminal)
    (board,) = watch(tmp_path, console, sleep=sleep)
    assert (board.step, left) == (1000, [])
    assert "done, reached" in text(console)
    assert ("\x1b[" in text(console)) == is_terminal


def test_without_a_terminal_a_line_every_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = Writing(tmp_path).begins().committed()
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds
        writing.trains(20).committed()
        if writing.step == 700:
            writing.ends()

    console = terminal(width=200)
    watch(tmp_path, console, sleep=sleep)
    lines = [line for line in text(console).splitlines() if line.startswith("sync seed 1:")]
    assert len(lines) == 3
    assert [line[13:25] for line in lines] == ["12,800 sampl", "25,600 sampl", "38,400 sampl"]


def test_the_runs_of_a_comparison_are_watched_in_turn(tmp_path: Path) -> None:
    first = Writing(tmp_path / "runs" / "c-sync-s1").begins().trains(1000).committed()
    second: list[Writing] = []

    def sleep(_: float) -> None:
        if first.step == 1000 and not second:
            first.ends()
            second.append(Writing(tmp_path / "runs" / "c-async-s1", mode="async").begins().trains(10).committed())
            past = time.time() - 60
            for file in first.path.glob("metrics.db*"):
                os.utime(file, (past, past))
        else:
            second[0].ends()
            (tmp_path / "comparison.json").write_text("{}")

    console = terminal()
    boards = watch(tmp_path, console, sleep=sleep)
    assert [board.variant for board in boards] == ["sync", "async"]
    assert text(console).count("done, reached") == 2


def test_the_command(tmp_path: Path) -> None:
    Writing(tmp_path / "run").begins().trains(500).samples().ends()
    shown = regatta("watch", "run", cwd=tmp_path, COLUMNS="80")
    assert shown.returncode == 0, shown.stderr
    assert "worker:0" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    wrong = regatta("watch", "nowhere", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "not the folder of a run" in wrong.stderr


# The live view of `run` and `compare`.


def result(*findings: Finding) -> RunResult:
    fields: dict[str, Any] = {"run_id": "run", "job": "digits", "mode": "sync", "seed": 1, "status": "succeeded"}
    return RunResult(**fields, tasks={"worker": 2}, stability=Stability(findings=findings))


def view(console: Console, path: Path, *, quiet: bool = False, verbose: bool = False) -> LiveView:
    shown = LiveView(console, quiet=quiet, verbose=verbose)
    shown.__enter__()
    shown.run_begins(RunSpec.make({"job": "digits", "seed": 1}), "run", path)
    return shown


def test_lines_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = Writing(tmp_path).begins()
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    console = terminal(width=200)
    shown = view(console, tmp_path)
    waiting = Launching(frozenset({W0, W1}))
    for _ in range(30):
        now[0] += 0.5
        shown.launching(Tick(waiting, [ReplicaStatus(W0, ReplicaState.STARTING)]))
    for _ in range(50):
        now[0] += 0.5
        writing.trains(10).committed()
        shown.training(Tick(Training("run"), []))
    shown.run_ended(result(Finding(kind="nan", step=3, symptom="bad", action="stopped"), Finding(kind="s", symptom="")))
    shown.__exit__()
    lines = text(console).splitlines()
    assert lines[0] == "starting"
    ready = "starting tasks: 0 of 2 ready"
    assert lines[1:3] == [ready, f"{ready}, for 10 s"], "at once, and ten seconds later"
    training = [line for line in lines if " samples (" in line]
    assert len(training) == 3
    assert training[-1].startswith("sync seed 1: 27,520 samples (43%)  6,400/s  loss 0.5  ETA 0:06")
    assert lines[-2:] == ["sync seed 1: done", "  nan at step 3: bad (stopped)"]


def test_a_dashboard_where_there_is_one(tmp_path: Path) -> None:
    writing = Writing(tmp_path).begins().trains(250).samples().committed()
    console = terminal(is_terminal=True)
    shown = view(console, tmp_path)
    shown.launching(Tick(Launching(frozenset({W0})), [ReplicaStatus(W0, ReplicaState.STARTING)] * 3))
    shown.training(Tick(Training("run"), []))
    assert "starting tasks: 2 of 3 ready 0:00:0" in text(console), "a spinner, with seconds"
    shown._drawn_at = 0.0
    shown.training(Tick(Training("run"), []))
    assert "25%  16,000 of 64,000 samples" in text(console)
    assert "worker:0" in text(console)
    writing.ends()
    shown.run_ended(result())
    shown.__exit__()
    assert text(console).rstrip().endswith("\x1b[2K") or "sync seed 1: done" in text(console)


def test_the_message_of_a_failure_is_left_to_the_command(tmp_path: Path) -> None:
    console = terminal(width=200)
    shown = view(console, tmp_path)
    why = "The job failed in worker:0: ValueError: 3. Its log: logs/worker-0.log."
    shown.run_ended(result().model_copy(update={"status": "failed", "stop_reason": why}))
    assert "sync seed 1: failed, The job failed in worker:0" in text(console)
    assert "ValueError" not in text(console)


def test_a_preemption_is_said_once() -> None:
    assert outcome(result().model_copy(update={"status": "preempted", "stop_reason": "preempted"})) == "preempted"


def test_quiet_says_nothing(tmp_path: Path) -> None:
    for is_terminal in (True, False):
        console = terminal(is_terminal=is_terminal)
        Writing(tmp_path / str(is_terminal))
        shown = view(console, tmp_path / str(is_terminal), quiet=True)
        shown.launching(Tick(Launching(frozenset({W0})), []))
        shown.training(Tick(Training("run"), []))
        shown.run_ended(result())
        shown.__exit__()
        assert text(console) == ""


def test_verbose_tells_evaluations_and_every_finding(tmp_path: Path) -> None:
    Writing(tmp_path)
    console = terminal(width=120)
    shown = view(console, tmp_path, verbose=True)
    evaluation = Evaluation(Stamp("run", 50, 3200, 1.5), {"val_loss": 0.5, "val_accuracy": 0.9}, 0.1)
    shown.training(Tick(Training("run"), [status(EVALUATOR, evaluation, state=ReplicaState.READY)]))
    shown.run_ended(result(Finding(kind="spike", step=3, symptom="up")))
    assert "sync seed 1: step 50, 1.50 s: val_accuracy 0.9000" in text(console)
    assert "  spike at step 3: up (warned)" in text(console)


def test_a_folder_that_cannot_be_read_back_does_not_stop_a_run(tmp_path: Path) -> None:
    console = terminal()
    shown = view(console, tmp_path / "not there")
    shown.training(Tick(Training("run"), []))
    shown.run_ended(result())
    assert "sync seed 1: done" in text(console)
