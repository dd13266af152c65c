"""Checkpoints on disk: written whole or not at all, and not believed when they are read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.checkpoints import manifest as manifests
from workers.checkpoints.errors import CheckpointError, DamagedError, FencedError
from workers.checkpoints.manifest import ARRAYS, MANIFEST, Score
from workers.checkpoints.storage import FENCE, LocalStorage
from workers.checkpoints.store import CheckpointStore, open_storage
from workers.messages import Dealt
from workers.snapshot import Memory, Snapshot

pytestmark = pytest.mark.unit

ABOUT = {"seed": 0, "job": "digits", "mode": "sync", "workers": 2, "batch_size": 32}


def a_snapshot(step: int = 10, value: float = 1.0) -> Snapshot:
    return Snapshot(
        step=step,
        samples=64 * step,
        clock=step / 10,
        weights=(np.full((3, 2), value, np.float32), np.array(step, np.int64), np.empty((0, 4), np.float16)),
        optimizer=(np.array([step], np.int64),),
        position=(Dealt(2, (step, step)),),
        schedule_scale=0.5,
        callbacks=Memory({"callbacks": [], "logs": {"names": [], "rows": 0}}, (np.arange(4.0),)),
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(LocalStorage(tmp_path / "checkpoints"), "a-run")
    store.claim(1)
    return store


def folder(tmp_path: Path, step: int, attempt: int = 1) -> Path:
    return tmp_path / "checkpoints" / f"{step:010d}-{attempt}"


def edit(path: Path, change: Callable[[dict[str, Any]], None], *, honest: bool = False) -> None:
    """Change a manifest; `honest` as somebody would who can compute its digest."""
    document = json.loads(path.read_text())
    change(document)
    if honest:
        document.pop("digest")
        document["digest"] = manifests._digest(document)
    path.write_text(json.dumps(document))


def test_what_was_written_is_read_back_to_the_last_bit(store: CheckpointStore) -> None:
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


def test_types_that_npy_files_cannot_name_survive(store: CheckpointStore) -> None:
    import ml_dtypes

    narrow = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(2, 3)
    eight = np.array(1.5, ml_dtypes.float8_e4m3fn)
    name, _ = store.write(replace(a_snapshot(), weights=(narrow, eight)), 1, ABOUT)
    read = store.read(name).snapshot.weights
    assert [array.dtype for array in read] == [narrow.dtype, eight.dtype]
    assert read[0].tolist() == narrow.tolist()


def test_numpy_opens_the_arrays_without_pickle(store: CheckpointStore, tmp_path: Path) -> None:
    store.write(a_snapshot(), 1, ABOUT)
    with np.load(folder(tmp_path, 10) / ARRAYS, allow_pickle=False) as arrays:
        assert arrays["weights/000000"].tolist() == [[1, 1]] * 3


def test_objects_are_not_written(store: CheckpointStore, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="type object"):
        store.write(replace(a_snapshot(), weights=(np.array([{}], object),)), 1, ABOUT)
    assert store.names() == []
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [".lock", FENCE]


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_torn_one_is_passed_over(store: CheckpointStore, tmp_path: Path, size: int) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    store.write(a_snapshot(20), 1, ABOUT)
    path = folder(tmp_path, 20) / ARRAYS
    path.write_bytes(path.read_bytes()[:size])
    found = store.latest()
    assert found.checkpoint is not None
    assert found.checkpoint.manifest.step == 10
    assert len(found.passed_over) == 1
    assert "torn" in found.passed_over[0]
    assert str(folder(tmp_path, 20)) in found.passed_over[0]


def test_one_flipped_bit_is_seen(store: CheckpointStore, tmp_path: Path) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    path = folder(tmp_path, 10) / ARRAYS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="SHA-256"):
        store.read(folder(tmp_path, 10).name)


def test_an_edited_manifest_is_seen(store: CheckpointStore, tmp_path: Path) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    edit(folder(tmp_path, 10) / MANIFEST, lambda document: document.update(samples=0))
    with pytest.raises(DamagedError, match="edited"):
        store.read(folder(tmp_path, 10).name)


def test_a_folder_without_manifest_or_arrays_is_none(store: CheckpointStore, tmp_path: Path) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    store.write(a_snapshot(20), 1, ABOUT)
    (folder(tmp_path, 10) / ARRAYS).unlink()
    (folder(tmp_path, 20) / MANIFEST).unlink()
    found = store.latest()
    assert found.checkpoint is None
    assert [line.rpartition(": ")[2] for line in found.passed_over] == [
        "it has no manifest.json",
        "it has no arrays.npz",
    ]


def _set(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(fields)


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "a file outside": lambda d: d["files"].update({"../../etc/passwd": d["files"][ARRAYS]}),
    "an absolute file": lambda d: d.update(files={"/etc/passwd": d["files"][ARRAYS]}),
    "no files": _set(files={}),
    "a wrong hash": lambda d: d["files"][ARRAYS].update(sha256="0" * 64),
    "no hash": lambda d: d["files"][ARRAYS].update(sha256=""),
    "huge file": lambda d: d["files"][ARRAYS].update(size=2**52),
    "negative file": lambda d: d["files"][ARRAYS].update(size=-1),
    "huge step": _set(step=10**30),
    "negative step": _set(step=-1),
    "another step": _set(step=11),
    "a step of text": _set(step="10"),
    "a step of truth": _set(step=True),
    "a clock before the start": _set(clock=-1.0),
    "attempt 0": _set(attempt=0),
    "another attempt": _set(attempt=7),
    "the best state": _set(score={"metric": "val_loss", "value": 0.1}),
    "another run": _set(run_id="not-this-one"),
    "a long run id": _set(run_id="x" * 10_000),
    "another schema": _set(schema=2),
    "an unknown field": _set(exec="import os"),
    "a pickle": lambda d: d["arrays"][0].update(dtype="object"),
    "an unknown type": lambda d: d["arrays"][0].update(dtype="bfloat17"),
    "a huge shape": lambda d: d["arrays"][0].update(shape=[2**52, 2**52]),
    "a negative shape": lambda d: d["arrays"][0].update(shape=[-1]),
    "another shape": lambda d: d["arrays"][0].update(shape=[2, 3]),
    "too few arrays": lambda d: d["arrays"].pop(),
    "another kind": lambda d: d["arrays"][0].update(kind="optimizer"),
    "workers that took nothing": lambda d: d["position"][0].update(taken=[1]),
    "no workers": lambda d: d["position"][0].update(workers=0, taken=[]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_manifests_are_refused_even_with_a_right_digest(
    store: CheckpointStore, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    edit(folder(tmp_path, 10) / MANIFEST, change, honest=True)
    found = store.latest()
    assert found.checkpoint is None
    assert len(found.passed_over) == 1
    assert "\n" not in found.passed_over[0]


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", "[" * 100_000, '{"a": NaN}', '{"step": ' + "9" * 5000 + "}", "\x00", "\xff"],
)
def test_manifests_that_are_none(store: CheckpointStore, tmp_path: Path, text: str) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    (folder(tmp_path, 10) / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError):
        store.read(folder(tmp_path, 10).name)


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_manifest(data: bytes) -> None:
    with pytest.raises(DamagedError):
        manifests.from_bytes(data)


def test_a_bomb_does_not_go_off(store: CheckpointStore, tmp_path: Path) -> None:
    """Arrays that are compressed could unpack to any size."""
    store.write(a_snapshot(10), 1, ABOUT)
    path = folder(tmp_path, 10) / ARRAYS
    with np.load(path) as arrays:
        content = dict(arrays)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in content.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    import hashlib

    told = {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    edit(folder(tmp_path, 10) / MANIFEST, lambda d: d["files"].update({ARRAYS: told}), honest=True)
    with pytest.raises(DamagedError, match="compressed"):
        store.read(folder(tmp_path, 10).name)


def test_the_last_ones_and_the_best_stay(store: CheckpointStore, tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 50):
        store.write(a_snapshot(step), 1, ABOUT)
        if step < 30:
            store.write(a_snapshot(step), 1, ABOUT, Score(metric="val_loss", value=1 / step))
        store.prune(2)
    assert store.names() == ["0000000040-1", "0000000050-1"]
    assert LocalStorage(tmp_path / "checkpoints").names() == ["0000000020-1-best", "0000000040-1", "0000000050-1"]
    assert store.best("val_loss", maximize=False) == 0.05
    assert store.best("val_accuracy", maximize=True) is None


def test_the_best_is_not_gone_on_from(store: CheckpointStore) -> None:
    """In async it was read while workers went on: what was taken of the data is not known of it."""
    store.write(a_snapshot(10), 1, ABOUT)
    name, _ = store.write(a_snapshot(20), 1, ABOUT, Score(metric="val_loss", value=0.1))
    found = store.latest()
    assert found.checkpoint is not None
    assert (found.checkpoint.manifest.step, found.passed_over) == (10, ())
    best = store.read(name)
    assert best.snapshot.weights[0].tolist() == a_snapshot(20).weights[0].tolist()
    assert best.snapshot.position == ()


def test_a_later_attempts_are_newer_whatever_their_step(store: CheckpointStore) -> None:
    store.write(a_snapshot(30), 1, ABOUT)
    store.claim(2)
    store.write(a_snapshot(20), 2, ABOUT)
    found = store.latest().checkpoint
    assert found is not None
    assert (found.manifest.attempt, found.manifest.step) == (2, 20)


def test_what_was_trained_in_vain_is_taken_away(store: CheckpointStore) -> None:
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


def test_an_attempt_that_is_overtaken_while_it_writes_does_not_finish(store: CheckpointStore, tmp_path: Path) -> None:
    def write() -> None:
        with LocalStorage(tmp_path / "checkpoints").draft("0000000010-1") as draft:
            store.claim(2)
            draft.finish(b"{}", lambda: store.check(1))

    with pytest.raises(FencedError):
        write()
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
def test_a_damaged_fence_stops_everybody(store: CheckpointStore, tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoints" / FENCE).write_text(text)
    with pytest.raises(CheckpointError, match=r"attempt\.json does not say"):
        store.write(a_snapshot(), 1, ABOUT)


def test_runs_do_not_share_a_place(store: CheckpointStore, tmp_path: Path) -> None:
    other = CheckpointStore(LocalStorage(tmp_path / "checkpoints"), "another")
    with pytest.raises(CheckpointError, match="another run, 'a-run'"):
        other.claim(1)


def test_the_same_step_again_replaces_the_checkpoint(store: CheckpointStore) -> None:
    store.write(a_snapshot(10, 1.0), 1, ABOUT)
    name, _ = store.write(a_snapshot(10, 2.0), 1, ABOUT)
    assert store.names() == [name]
    assert store.read(name).snapshot.weights[0][0, 0] == 2.0


def test_symlinks_and_strangers_are_no_checkpoints(store: CheckpointStore, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    (root / "0000000099-1").symlink_to(tmp_path)
    (root / "notes").mkdir()
    (root / "final.weights.h5").touch()
    assert store.names() == []


def test_a_place_by_any_name(tmp_path: Path) -> None:
    assert open_storage(f"file://{tmp_path}").url == str(tmp_path)
    with pytest.raises(CheckpointError, match="no place for checkpoints"):
        open_storage("nonsense://somewhere")
