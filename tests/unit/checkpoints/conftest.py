from __future__ import annotations

from pathlib import Path

import pytest

from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """The checkpoints of `a-run`, claimed by its first attempt."""
    store = CheckpointStore(LocalStorage(tmp_path / "checkpoints"), "a-run")
    store.claim(1)
    return store
