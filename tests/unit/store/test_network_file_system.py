"""Runs in folders of a network file system, as a preloaded library makes their file system look."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from orchestrator.store.file_systems import network_file_system
from orchestrator.store.metrics import SCHEMA, Metrics
from tests.preloaded import compiled

WRITE_AND_READ = """
import sys
from pathlib import Path
from orchestrator.store.directory import RunStore
from orchestrator.store.metrics import Metrics
run = Path(sys.argv[1])
run.mkdir(parents=True)
store = RunStore(run)
store.event(1, "note")
store.commit()
reader = Metrics(run)
print(sorted(path.name for path in run.iterdir() if path.name.startswith("metrics")))
store.event(1, "note")  # while a reader has the file open
store.commit()
print(store.problem, reader.column("SELECT COUNT(*) FROM events"))
store.close()
"""
READ = """
import sqlite3, sys
from pathlib import Path
from orchestrator.store.metrics import Metrics
try:
    print(Metrics(Path(sys.argv[1])).column("SELECT COUNT(*) FROM events"))
except sqlite3.OperationalError as error:
    print(error)
"""


def on_a_network(script: str, run: Path, folder: Path, libraries: Path) -> str:
    """What `script` prints about `run`, in a process for which `folder` is on NFS."""
    library = compiled("network_file_system", libraries)
    environment = os.environ | {"LD_PRELOAD": str(library), "NETWORK_FOLDER": str(folder)}
    command = [sys.executable, "-c", script, str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_there_has_no_write_ahead_log(tmp_path: Path) -> None:
    said = on_a_network(WRITE_AND_READ, tmp_path / "nfs" / "run", tmp_path / "nfs", tmp_path)
    assert said.splitlines() == ["['metrics.db']", "None [2]"]


def test_a_run_on_a_local_disk_has_one(tmp_path: Path) -> None:
    said = on_a_network(WRITE_AND_READ, tmp_path / "run", tmp_path / "nfs", tmp_path)
    assert said.splitlines() == ["['metrics.db', 'metrics.db-shm', 'metrics.db-wal']", "None [2]"]


def test_a_write_ahead_log_of_another_host_is_not_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "metrics.db") as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.executescript(SCHEMA)
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert Metrics(tmp_path).column("SELECT COUNT(*) FROM events") == [0]
        said = on_a_network(READ, tmp_path, tmp_path, tmp_path)
    assert "cannot be read over NFS: read it on the host that writes it" in said
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "metrics.db", tmp_path / "copy")
    writer.close()
    assert on_a_network(READ, tmp_path / "copy", tmp_path, tmp_path) == "[0]\n"


def test_what_cannot_be_told_counts_as_local(tmp_path: Path) -> None:
    assert network_file_system(tmp_path / "nowhere") is None
    assert network_file_system(Path("/proc")) is None
