"""Damaged and hostile checkpoints: every one is detected and skipped."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints import manifest as manifests
from workers.checkpoints.errors import DamagedError
from workers.checkpoints.manifest import ARRAYS, MANIFEST
from workers.checkpoints.store import CheckpointStore

pytestmark = pytest.mark.unit


def folder(tmp_path: Path, step: int, attempt: int = 1) -> Path:
    return tmp_path / "checkpoints" / f"{step:010d}-{attempt}"


def edit(path: Path, change: Callable[[dict[str, Any]], None], *, valid_digest: bool = False) -> None:
    """Edit a manifest; `valid_digest` recomputes its digest, as a careful attacker would."""
    document = json.loads(path.read_text())
    change(document)
    if valid_digest:
        document.pop("digest")
        document["digest"] = manifests._digest(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_truncated_checkpoint_is_skipped(store: CheckpointStore, tmp_path: Path, size: int) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    store.write(a_snapshot(20), 1, ABOUT)
    path = folder(tmp_path, 20) / ARRAYS
    path.write_bytes(path.read_bytes()[:size])
    found = store.latest()
    assert found.checkpoint is not None
    assert found.checkpoint.manifest.step == 10
    assert len(found.passed_over) == 1
    assert f"{ARRAYS} is truncated" in found.passed_over[0]
    assert str(folder(tmp_path, 20)) in found.passed_over[0]


def test_one_flipped_bit_is_detected(store: CheckpointStore, tmp_path: Path) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    path = folder(tmp_path, 10) / ARRAYS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="SHA-256"):
        store.read(folder(tmp_path, 10).name)


def test_an_edited_manifest_is_detected(store: CheckpointStore, tmp_path: Path) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    edit(folder(tmp_path, 10) / MANIFEST, lambda document: document.update(samples=0))
    with pytest.raises(DamagedError, match="edited"):
        store.read(folder(tmp_path, 10).name)


def test_a_folder_without_manifest_or_arrays_is_not_a_checkpoint(store: CheckpointStore, tmp_path: Path) -> None:
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
def test_hostile_manifests_are_rejected_even_with_a_valid_digest(
    store: CheckpointStore, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    edit(folder(tmp_path, 10) / MANIFEST, change, valid_digest=True)
    found = store.latest()
    assert found.checkpoint is None
    assert len(found.passed_over) == 1
    assert "\n" not in found.passed_over[0]


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", "[" * 100_000, '{"a": NaN}', '{"step": ' + "9" * 5000 + "}", "\x00", "\xff"],
)
def test_what_is_not_a_manifest(store: CheckpointStore, tmp_path: Path, text: str) -> None:
    store.write(a_snapshot(10), 1, ABOUT)
    (folder(tmp_path, 10) / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError):
        store.read(folder(tmp_path, 10).name)


@given(st.binary(max_size=200))
def test_random_bytes_are_not_accepted_as_a_manifest(data: bytes) -> None:
    with pytest.raises(DamagedError):
        manifests.from_bytes(data)


def test_a_zip_bomb_is_rejected(store: CheckpointStore, tmp_path: Path) -> None:
    """Compressed arrays could unpack to any size."""
    store.write(a_snapshot(10), 1, ABOUT)
    path = folder(tmp_path, 10) / ARRAYS
    with np.load(path) as arrays:
        content = dict(arrays)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in content.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    import hashlib

    entry = {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    edit(folder(tmp_path, 10) / MANIFEST, lambda d: d["files"].update({ARRAYS: entry}), valid_digest=True)
    with pytest.raises(DamagedError, match="compressed"):
        store.read(folder(tmp_path, 10).name)
