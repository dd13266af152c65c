"""Checkpoints on disk: written whole or not at all, read back bit for bit, and written by one attempt at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints import arrays
from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError, FencedError
from workers.checkpoints.manifest import ARRAYS, Score
from workers.checkpoints.storage import FENCE, LocalStorage
from workers.checkpoints.store import CheckpointStore
from workers.snapshot import Snapshot

pytestmark = pytest.mark.unit


def test_arrays_are_read_back_bit_for_bit(store: CheckpointStore) -> None:
    written = a_snapshot()
    name, size = store.write(written, 1, ABOUT)
    read = store.read(name)
    assert size > written.nbytes
    for ours, theirs in zip(
        (*written.weights, *written.optimizer), (*read.snapshot.weights, *read.snapshot.optimizer), strict=True
    ):
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
    assert replace(read.snapshot, weights=(), optimizer=(), callbacks=None) == replace(
        written, weights=(), optimizer=(), callbacks=None
    )
    assert read.snapshot.callbacks is not None
    assert read.snapshot.callbacks.document == written.callbacks.document  # type: ignore[union-attr]
    assert read.manifest.workers == 2


def test_types_that_npy_files_do_not_support(store: CheckpointStore) -> None:
    import ml_dtypes

    narrow = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(2, 3)
    eight = np.array(1.5, ml_dtypes.float8_e4m3fn)
    name, _ = store.write(replace(a_snapshot(), weights=(narrow, eight)), 1, ABOUT)
    read = store.read(name).snapshot.weights
    assert [array.dtype for array in read] == [narrow.dtype, eight.dtype]
    assert read[0].tolist() == narrow.tolist()


def test_numpy_opens_the_arrays_without_pickle(store: CheckpointStore, tmp_path: Path) -> None:
    name, _ = store.write(a_snapshot(), 1, ABOUT)
    with np.load(tmp_path / "checkpoints" / name / ARRAYS, allow_pickle=False) as arrays:
        assert arrays["weights/000000"].tolist() == [[1, 1]] * 3


def test_objects_are_not_written(store: CheckpointStore, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="type object"):
        store.write(replace(a_snapshot(), weights=(np.array([{}], object),)), 1, ABOUT)
    assert store.names() == []
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [".lock", FENCE]


def test_pruning_keeps_the_last_ones_and_the_best(store: CheckpointStore, tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 50):
        store.write(a_snapshot(step), 1, ABOUT)
        if step < 30:
            store.write(a_snapshot(step), 1, ABOUT, Score(metric="val_loss", value=1 / step))
        store.prune(2)
    assert store.names() == ["0000000040-1", "0000000050-1"]
    assert LocalStorage(tmp_path / "checkpoints").names() == ["0000000020-1-best", "0000000040-1", "0000000050-1"]
    assert store.best("val_loss", maximize=False) == 0.05
    assert store.best("val_accuracy", maximize=True) is None


def test_runs_do_not_resume_from_the_best_state(store: CheckpointStore) -> None:
    """In async it is read while workers keep training, so its position in the data is unknown."""
    store.write(a_snapshot(10), 1, ABOUT)
    name, _ = store.write(a_snapshot(20), 1, ABOUT, Score(metric="val_loss", value=0.1))
    found = store.latest()
    assert found.checkpoint is not None
    assert (found.checkpoint.manifest.step, found.passed_over) == (10, ())
    best = store.read(name)
    assert best.snapshot.weights[0].tolist() == a_snapshot(20).weights[0].tolist()
    assert best.snapshot.position == ()


def test_checkpoints_of_a_later_attempt_are_newer_whatever_their_step(store: CheckpointStore) -> None:
    store.write(a_snapshot(30), 1, ABOUT)
    store.claim(2)
    store.write(a_snapshot(20), 2, ABOUT)
    found = store.latest().checkpoint
    assert found is not None
    assert (found.manifest.attempt, found.manifest.step) == (2, 20)


def test_checkpoints_after_the_restart_point_are_deleted(store: CheckpointStore) -> None:
    for step in (10, 20, 30):
        store.write(a_snapshot(step), 1, ABOUT)
    store.write(a_snapshot(30), 1, ABOUT, Score(metric="val_loss", value=0.1))
    store.discard_after(10, attempt=2)
    assert len(store.names()) == 3
    store.discard_after(10, attempt=1)
    assert store.names() == ["0000000010-1"]
    assert store.best("val_loss", maximize=False) is None


def test_an_earlier_attempt_must_not_write(store: CheckpointStore) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    store.claim(2)
    with pytest.raises(FencedError, match="attempt 2 of the run has taken over"):
        store.write(a_snapshot(20), 1, ABOUT)
    with pytest.raises(FencedError):
        store.claim(1)
    assert store.names() == ["0000000010-1"]


def test_an_attempt_that_is_fenced_while_it_writes_does_not_finish(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = arrays.write

    def after_a_claim(snapshot: Snapshot, stream: IO[bytes]) -> object:
        store.claim(2)
        return write(snapshot, stream)

    monkeypatch.setattr(arrays, "write", after_a_claim)
    with pytest.raises(FencedError):
        store.write(a_snapshot(10), 1, ABOUT)
    assert store.names() == []
    assert not list((tmp_path / "checkpoints").glob(".0*"))


def test_leftovers_of_a_killed_writer_are_cleaned_up(store: CheckpointStore, tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".0000000010-1.12345"
    left.mkdir()
    (left / ARRAYS).write_bytes(b"half")
    store.clean()
    assert not left.exists()
    assert store.attempt() == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"attempt": 0, "run_id": "a-run"}', '{"attempt": "2"}', "[" * 4000])
def test_a_damaged_fence_stops_all_writers(store: CheckpointStore, tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoints" / FENCE).write_text(text)
    with pytest.raises(CheckpointError, match=r"attempt\.json does not say"):
        store.write(a_snapshot(), 1, ABOUT)


def test_runs_do_not_share_a_folder(store: CheckpointStore, tmp_path: Path) -> None:
    other = CheckpointStore(LocalStorage(tmp_path / "checkpoints"), "another")
    with pytest.raises(CheckpointError, match="another run, 'a-run'"):
        other.claim(1)


def test_the_same_step_again_replaces_the_checkpoint(store: CheckpointStore) -> None:
    store.write(a_snapshot(10, 1.0), 1, ABOUT)
    name, _ = store.write(a_snapshot(10, 2.0), 1, ABOUT)
    assert store.names() == [name]
    assert store.read(name).snapshot.weights[0][0, 0] == 2.0


def test_symlinks_and_other_files_are_ignored(store: CheckpointStore, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    (root / "0000000099-1").symlink_to(tmp_path)
    (root / "notes").mkdir()
    (root / "final.weights.h5").touch()
    assert store.names() == []


def test_opening_by_path_or_uri(tmp_path: Path) -> None:
    assert open_storage(f"file://{tmp_path}").url == str(tmp_path)
    with pytest.raises(CheckpointError, match=r"not a location that pyarrow\.fs can open"):
        open_storage("nonsense://somewhere")
