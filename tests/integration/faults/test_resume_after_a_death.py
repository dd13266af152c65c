"""Runs that are interrupted and resumed: after preemption, with damaged checkpoints, on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.coordinator import Tick
from orchestrator.errors import UsageError
from orchestrator.runs.resume import plan_resume
from orchestrator.runs.watcher import NullWatcher
from orchestrator.store.directory import RunStore
from orchestrator.store.folders import load_result
from tests.integration.recorded_runs import Launched, rows
from tests.marked import slow
from workers.checkpoints.manifest import ARRAYS
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore
from workers.news import CheckpointFailed, CheckpointWritten, StepBatch

LONG = 2000
"""Steps of a budget that these runs never reach."""


class Once(NullWatcher):
    """Calls a function at the first tick of training that meets a condition."""

    def __init__(self, when: Callable[[Tick], bool], do: Callable[[], None]) -> None:
        self._when = when
        self._do: Callable[[], None] | None = do

    def training(self, tick: Tick) -> None:
        if self._do is not None and self._when(tick):
            do, self._do = self._do, None
            do()


def checkpoints_in(tick: Tick) -> list[CheckpointWritten | CheckpointFailed]:
    everything = (news for status in tick.statuses for news in status.news)
    return [news for news in everything if isinstance(news, CheckpointWritten | CheckpointFailed)]


def steps_in(tick: Tick) -> int:
    everything = (news for status in tick.statuses for news in status.news)
    return max((int(news.steps.max()) for news in everything if isinstance(news, StepBatch)), default=0)


def launched_group(mode: str = "sync", **fields: Any) -> Launched:
    return Launched(job="exact.py", mode=mode, workers=2, batch_size=16, steps_per_call=2, **fields)


def preempted(path: Path, mode: str, task: str) -> int:
    """A run of which `task` was told to end; returns its last step."""
    with launched_group(mode) as launched:
        batch = 32 if mode == "sync" else 16
        watcher = Once(lambda tick: steps_in(tick) > 60, lambda: os.kill(launched.pid(task), signal.SIGTERM))
        result = launched.run(path, watcher, samples=LONG * batch, checkpoint_every=20 * batch, eval_every=LONG * batch)
    assert (result.status, result.stop_reason) == ("preempted", "preempted")
    assert load_result(path) == result
    assert result.steps is not None
    assert 60 < result.steps < LONG
    return result.steps


@pytest.mark.parametrize(("mode", "task"), [("sync", "worker:1"), slow("async", "ps:0")])
def test_a_task_that_gets_sigterm_leaves_a_run_that_can_be_resumed(tmp_path: Path, mode: str, task: str) -> None:
    path = tmp_path / "run"
    path.mkdir()
    steps = preempted(path, mode, task)
    store = CheckpointStore(LocalStorage(path / "checkpoints"), "run")
    newest = store.names()[-1]
    assert store.manifest(newest).step == steps
    with launched_group(mode) as launched:
        result, start = launched.resume(path)
    assert f"from step {steps:,}" in start
    assert (result.status, result.stop_reason, result.attempts) == ("succeeded", "budget", 2)
    assert result.steps == result.optimizer_iterations == LONG
    per_attempt = rows(path, "SELECT attempt, MIN(step), MAX(step), COUNT(*) FROM steps GROUP BY attempt")
    assert per_attempt == [(1, 1, steps, steps), (2, steps + 1, LONG, LONG - steps)]
    clocks = rows(path, "SELECT attempt, MIN(clock), MAX(clock) FROM steps GROUP BY attempt")
    assert clocks[0][2] < clocks[1][1]


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preempted sync run, with three checkpoints."""
    path = tmp_path_factory.mktemp("broken-off") / "run"
    path.mkdir()
    preempted(path, "sync", "worker:0")
    return path


@pytest.fixture
def run(broken_off: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(broken_off, tmp_path / "run"))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_said(run: Path) -> None:
    names = CheckpointStore(LocalStorage(run / "checkpoints"), "run").names()
    arrays = run / "checkpoints" / names[-1] / ARRAYS
    os.truncate(arrays, arrays.stat().st_size // 2)
    spec = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(spec.replace(f"samples: {LONG * 32}", "samples: 12800"))
    before = int(names[-2].partition("-")[0])
    with launched_group() as launched:
        result, start = launched.resume(run)
    assert f"{names[-1]} cannot be trusted: {ARRAYS} is truncated" in start
    assert f"from step {before:,}" in start
    assert result.status == "succeeded"
    assert rows(run, "SELECT MIN(step) FROM steps WHERE attempt = 2") == [(before + 1,)]
    (note,) = rows(run, "SELECT detail FROM events WHERE kind = 'note'")
    assert "is truncated" in json.loads(note[0])["text"]


def test_without_a_checkpoint_to_trust_nothing_is_started(run: Path) -> None:
    for arrays in (run / "checkpoints").glob(f"*/{ARRAYS}"):
        arrays.write_bytes(arrays.read_bytes()[::-1])
    with pytest.raises(UsageError, match="None of the 3 checkpoints") as refused:
        plan_resume(run, {})
    assert "SHA-256" in refused.value.message
    assert "\n" not in refused.value.message


def test_a_run_without_any_starts_from_scratch(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    planned, start = plan_resume(run, {})
    assert "from the beginning" in start
    assert planned.resumed is not None
    assert planned.resumed.attempt == 2


def test_a_run_whose_driver_lives_is_left_alone(run: Path) -> None:
    store = RunStore(run, reopen=True)
    with pytest.raises(UsageError, match=f"still running \\(pid {os.getpid()} on"):
        plan_resume(run, {})
    store.close()
    plan_resume(run, {})


def test_a_run_that_has_succeeded_is_done(run: Path) -> None:
    result = run / "result.json"
    result.write_text(result.read_text().replace('"status": "preempted"', '"status": "succeeded"'))
    with pytest.raises(UsageError, match="nothing to resume"):
        plan_resume(run, {})


@pytest.mark.parametrize("content", ["", "job: [", "- a", "job: digits\nnonsense: 1\n", "!!python/object:os.system {}"])
def test_a_spec_that_is_none_is_refused(run: Path, content: str) -> None:
    (run / "spec.yaml").write_text(content)
    with pytest.raises(UsageError):
        plan_resume(run, {})


def test_a_store_that_is_none_is_refused(run: Path) -> None:
    (run / "metrics.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(UsageError, match=r"metrics\.db"):
        plan_resume(run, {})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 KiB, at the place of a run's checkpoints."""
    path = tmp_path / "run" / "checkpoints"
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk could be mounted, which takes root: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_costs_no_run_and_no_checkpoint(small_disk: Path) -> None:
    path = small_disk.parent
    ballast = small_disk / "ballast"
    problems: list[str] = []
    last_good: list[str] = []

    def failed(tick: Tick) -> bool:
        problems.extend(news.problem for news in checkpoints_in(tick) if isinstance(news, CheckpointFailed))
        return bool(problems)

    def make_room() -> None:
        found = CheckpointStore(LocalStorage(small_disk), "run").latest()
        assert found.checkpoint is not None
        assert found.passed_over == ()
        last_good.append(found.checkpoint.name)
        ballast.unlink()

    ballast.write_bytes(b"x" * (100 << 10))
    with launched_group() as launched:
        result = launched.run(
            path, Once(failed, make_room), samples=LONG * 32, checkpoint_every=100 * 32, eval_every=10**6
        )
    assert result.status == "succeeded"
    assert result.steps == LONG
    assert str(small_disk) in problems[0]
    assert "bytes" in problems[0]
    assert "No space left on device" in problems[0]
    assert last_good
    names = CheckpointStore(LocalStorage(small_disk), "run").names()
    assert names[-1].startswith(f"{LONG:010d}")
    told = [
        json.loads(detail)["problem"]
        for (detail,) in rows(path, "SELECT detail FROM events WHERE kind = 'checkpoint_failed'")
    ]
    assert told == problems
