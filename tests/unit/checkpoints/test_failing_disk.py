"""A file server that fails for a moment, by a preloaded library: the newest checkpoint is taken all the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marked import slow
from tests.preloaded import compiled
from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore

READ = """
import sys
from pathlib import Path
from workers.checkpoints.destination import open_storage
from workers.checkpoints.store import CheckpointStore
try:
    found = CheckpointStore(open_storage(sys.argv[1]), "run").latest()
    print(found.checkpoint.manifest.step, found.passed_over)
except OSError as error:
    print("OSError", error.errno)
"""


@pytest.mark.parametrize(
    ("file", "number", "failures", "said"),
    [
        ("arrays.npz", errno.EIO, 2, "20 ()"),
        slow("manifest.json", errno.ESTALE, 4, "20 ()"),
        slow("arrays.npz", errno.EIO, 1000, f"OSError {errno.EIO}"),
    ],
)
def test_what_passes_is_no_damage(tmp_path: Path, file: str, number: int, failures: int, said: str) -> None:
    store = CheckpointStore(LocalStorage(tmp_path / "checkpoints"), "run")
    store.claim(1)
    for step in (10, 20):
        store.write(a_snapshot(step), 1, ABOUT)
    library = compiled("failing_reads", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "checkpoints")],
        env=os.environ | {"LD_PRELOAD": str(library), "FAILING": file, "FAILURES": f"{failures}", "ERROR": f"{number}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == said, done.stderr
