"""The thread that writes a leg's checkpoints: what it keeps and reports, and that it never blocks training."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.made import leg
from tests.made import settings as made
from tests.unit.checkpoints.snapshots import a_snapshot
from workers.checkpoints import storage
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore
from workers.checkpoints.writer import Writer
from workers.messages import Checkpointing, Start
from workers.news import CheckpointFailed, CheckpointWritten, Evaluation, Stamp
from workers.training.schedule import CheckpointSchedule

pytestmark = pytest.mark.unit


class Recorded:
    """A writer, and what it reported."""

    def __init__(self, root: Path, attempt: int = 1, start: Start | None = None, **settings: Any) -> None:
        self.reports: list[CheckpointWritten | CheckpointFailed] = []
        self.store = CheckpointStore(LocalStorage(root), "a-run")
        keep = {"checkpoint_keep": settings.pop("keep")} if "keep" in settings else {}
        checkpoints = Checkpointing(str(root), 2, **settings)
        written = leg("a-run", of=made(**keep), attempt=attempt, start=start, checkpoints=checkpoints)
        self.writer = Writer(written, checkpoints, self.reports.append)

    def write(self, *steps: int) -> None:
        for step in steps:
            self.writer.submit(a_snapshot(step))
            self.wait()

    def wait(self) -> None:
        with self.writer._changed:
            assert self.writer._changed.wait_for(self.writer._idle, 10)

    def score(self, step: int, value: float, metric: str = "val_loss") -> None:
        stamp = Stamp("a-run", step, 64 * step, step / 10)
        self.writer.consider(stamp, a_snapshot(step))
        self.writer.scored(Evaluation(stamp, {metric: value}, 0.1))

    @property
    def failures(self) -> list[CheckpointFailed]:
        return [news for news in self.reports if isinstance(news, CheckpointFailed)]


def test_the_last_three_are_kept(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.write(10, 20, 30, 40)
    assert recorded.store.names() == ["0000000020-1", "0000000030-1", "0000000040-1"]
    written = recorded.reports[-1]
    assert isinstance(written, CheckpointWritten)
    assert (written.step, written.samples, written.name) == (40, 2560, "0000000040-1")
    assert written.size == sum(path.stat().st_size for path in (tmp_path / written.name).iterdir())


def test_the_best_is_kept_as_well(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, keep=1, metric="val_accuracy", maximize=True)
    for step, value in [(5, 0.5), (15, 0.9), (25, 0.7)]:
        recorded.score(step, value, "val_accuracy")
        recorded.write(step + 5)
    assert LocalStorage(tmp_path).names() == ["0000000015-1-best", "0000000030-1"]
    assert [news.step for news in recorded.reports] == [10, 20, 30]  # the best state is not reported
    again = Recorded(tmp_path, attempt=2, start=Start(30, 1920, 3.0), keep=1, metric="val_accuracy", maximize=True)
    again.wait()
    again.score(35, 0.8, "val_accuracy")
    again.write(40)
    assert LocalStorage(tmp_path).names() == ["0000000015-1-best", "0000000040-2"]


def test_a_score_that_arrives_after_the_end_counts(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.write(10)
    assert recorded.writer.flush(10)
    recorded.score(10, 0.5)
    recorded.writer.close(10)
    assert LocalStorage(tmp_path).names() == ["0000000010-1", "0000000010-1-best"]
    assert recorded.store.read("0000000010-1").snapshot.position == a_snapshot(10).position
    assert recorded.store.best("val_loss", maximize=False) == 0.5


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_snapshot_without_a_score_is_not_the_best(tmp_path: Path, value: float | None) -> None:
    recorded = Recorded(tmp_path, keep=1)
    recorded.score(5, value, "val_loss" if value is not None else "other")  # type: ignore[arg-type]
    recorded.write(10)
    assert recorded.store.names() == ["0000000010-1"]


def test_slow_storage_makes_checkpoints_rarer_and_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    fsync = os.fsync
    monkeypatch.setattr(storage.os, "fsync", lambda descriptor: (slow.wait(10), fsync(descriptor))[1])
    recorded = Recorded(tmp_path)
    for step in range(1, 50):
        recorded.writer.submit(a_snapshot(step))
    assert not recorded.writer.flush(0)
    slow.set()
    assert recorded.writer.flush(10)
    assert recorded.store.names() == ["0000000049-1"]


def test_a_full_disk_is_reported_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(tmp_path)
    recorded.write(10)
    with monkeypatch.context() as full:
        full.setattr(storage.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        recorded.write(20)
    (failed,) = recorded.failures
    assert not failed.fenced
    for words in (str(tmp_path), f"{a_snapshot().nbytes:,} bytes", "are free", "No space left", "training continues"):
        assert words in failed.problem
    found = recorded.store.latest()
    assert found.checkpoint is not None
    assert found.checkpoint.manifest.step == 10
    assert not list(tmp_path.glob(".0*"))
    recorded.write(30)
    assert recorded.store.names() == ["0000000010-1", "0000000030-1"]


def test_storage_that_cannot_be_opened_is_reported_and_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    root.write_text("in the way")
    recorded = Recorded(root)
    recorded.write(10)
    assert recorded.failures
    assert str(root) in recorded.failures[0].problem
    root.unlink()
    recorded.write(20)
    assert recorded.store.names() == ["0000000020-1"]


def test_a_fenced_attempt_reports_it(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.write(10)
    newer = Recorded(tmp_path, attempt=2)
    newer.wait()
    recorded.write(20)
    assert [failed.fenced for failed in recorded.failures] == [True]
    assert newer.store.names() == ["0000000010-1"]


def test_a_leg_deletes_the_checkpoints_after_its_start(tmp_path: Path) -> None:
    Recorded(tmp_path).write(10, 20, 30)
    recorded = Recorded(tmp_path, start=Start(10, 640, 5.0))
    recorded.wait()
    assert recorded.store.names() == ["0000000010-1"]


def test_checkpoints_are_due_by_seconds_and_by_samples() -> None:
    now = 0.0
    due = CheckpointSchedule(100, 30.0, 0, 32, clock=lambda: now)
    assert due.boundary == 4  # the step that completes 100 samples
    assert not due.due(3)
    assert due.due(4)
    assert due.boundary == 8
    now = 31.0
    assert due.due(5)
    assert not due.due(5)
    assert CheckpointSchedule(100, None, 9, 32).boundary == 12
    off = CheckpointSchedule(None, None, 0, 32, clock=lambda: 1e9)
    assert not off.due(10**9)
