"""The files of a run have the permissions that the user's umask gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.store.directory import RunStore
from orchestrator.store.locks import claim_directory
from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o000])
def test_they_are_those_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run = claim_directory(tmp_path / "runs" / "run")
        store = RunStore(run)
        store.write_spec({"job": "digits"})
        store.event(1, "note")
        checkpoints = CheckpointStore(LocalStorage(run / "checkpoints"), "run")
        checkpoints.claim(1)
        checkpoints.write(a_snapshot(10), 1, ABOUT)
        store.close()
    finally:
        os.umask(before)
    found = [run.parent, run, *run.rglob("*")]
    assert len(found) > 8
    for path in found:
        mode = path.stat().st_mode & 0o777
        most = 0o777 if path.is_dir() else 0o666
        allowed = (most & ~umask, 0o644 & ~umask)  # SQLite's is 0644
        assert mode in allowed, f"{path.name} has {mode:04o}"
