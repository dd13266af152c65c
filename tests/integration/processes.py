"""Finds Regatta's processes, to check that none outlives its command."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

OURS = ("raylet", "gcs_server", "workers.supervisor.zygote", "workers.task", "ray::", "regatta")
ANOTHER_USER = 12345
Ready = Callable[[sqlite3.Connection], object]


def marked(mark: str) -> dict[int, str]:
    """Living processes with `mark` in their environment: pid to command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark.encode() in environment and command.strip():
            found[int(entry.name)] = command
    return found


def as_another_user(*limits: str) -> list[str]:
    """What to put before a command, for root only: it runs as another user, with `limits` of prlimit(1).

    That user may read what root may, for the interpreter can be in root's home.
    """
    who = [f"--reuid={ANOTHER_USER}", f"--regid={ANOTHER_USER}", "--clear-groups"]
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["prlimit", *limits, "setpriv", *who, *reads]


def all_gone(mark: str, seconds: float = 20.0) -> dict[int, str]:
    """What is left of `mark` after waiting for up to `seconds`; empty when all is well."""
    deadline = time.monotonic() + seconds
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def counted(query: str) -> Ready:
    """Condition for `wait_for`: the counting `query` gives more than 0."""
    return lambda db: db.execute(query).fetchone()[0]


def wait_for(run: Path, process: subprocess.Popen[str], ready: Ready, seconds: float = 180) -> None:
    """Wait until `ready` accepts the metrics of the run in folder `run`, which `process` trains."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{run / 'metrics.db'}?mode=ro", uri=True)) as db:
                if ready(db):
                    return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    process.terminate()
    pytest.fail(f"the run never got that far: {process.communicate(timeout=300)}")
