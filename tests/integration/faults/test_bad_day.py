"""A disk that is full, a reader that went away, a terminal that was closed: none of them costs a run."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import ANOTHER_USER, as_another_user, wait_for
from tests.marked import slow

COMMAND = [sys.executable, "-P", "-m", "orchestrator.cli.main", "run", "digits", "--backend", "local"]
LONG = ("--samples", "1000000000", "--target", "val_accuracy>=2", "--checkpoint-seconds", "0.5")
SHORT = ("--samples", "64000", "--target", "val_accuracy>=2")


def start(folder: Path, *options: str, **more: Any) -> subprocess.Popen[str]:
    """`regatta run digits` in `folder`, whose run is `folder`/run."""
    command = [*COMMAND, "--out", str(folder / "run"), *options]
    return subprocess.Popen(command, cwd=folder, start_new_session=True, text=True, **more)


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text())
    return found


def steps_taken(metrics: sqlite3.Connection) -> bool:
    return bool(metrics.execute("SELECT COUNT(*) FROM steps").fetchone()[0])


# Readers and terminals that go away.


def closed_pipe(folder: Path) -> subprocess.Popen[str]:
    reader, writer = os.pipe()
    process = start(folder, *SHORT, "--json", stderr=writer, stdout=subprocess.PIPE)
    os.close(writer)
    os.read(reader, 1)  # as `2>&1 | head -1` does
    os.close(reader)
    return process


def closed_terminal(folder: Path) -> subprocess.Popen[str]:
    """The terminal's end without a hangup signal, as under `nohup` or `setsid`."""
    ours, theirs = os.openpty()
    process = start(folder, *SHORT, "--json", stderr=theirs, stdout=subprocess.PIPE, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    return process


def full_output(folder: Path) -> subprocess.Popen[str]:
    with Path("/dev/full").open("w") as full:
        return start(folder, *SHORT, "--json", stderr=full, stdout=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("begin", [closed_pipe, closed_terminal, full_output])
def test_unwritable_output_costs_no_run(tmp_path: Path, begin: Callable[[Path], subprocess.Popen[str]]) -> None:
    out, _ = begin(tmp_path).communicate(timeout=300)
    assert json.loads(out)["status"] == "succeeded"
    assert result_of(tmp_path)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("ignored", "status"), [(False, "preempted"), slow(True, "succeeded")], ids=["ssh is gone", "nohup"]
)
def test_a_hangup(tmp_path: Path, ignored: bool, status: str) -> None:
    """A checkpoint and a result are written; `nohup` has it ignored."""
    options = SHORT if ignored else LONG
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        process = start(tmp_path, *options, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(tmp_path / "run", process, steps_taken)
    os.killpg(process.pid, signal.SIGHUP)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert result_of(tmp_path)["status"] == status
    if not ignored:
        steps = result_of(tmp_path)["steps"]
        assert any(path.name.startswith(f"{steps:010d}") for path in (tmp_path / "run" / "checkpoints").iterdir())


# Full disks.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk could be mounted, which takes root: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_disk_that_stays_full(small_disk: Path, mode: str) -> None:
    """Training goes to its end, what is lost is counted, and the result is printed: without figures over a part."""
    process = start(
        small_disk, *SHORT, "--mode", mode, "--checkpoints", str(small_disk.parent / "checkpoints"), "--json",
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    wait_for(small_disk / "run", process, steps_taken)
    fill(small_disk)
    out, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    printed = json.loads(out)
    assert (printed["status"], printed["samples"]) == ("succeeded", 64_000)
    assert printed["timing"] is None
    assert "loss" not in printed["final"]
    (said,) = [line for line in text.splitlines() if "metrics.db cannot be written" in line and "continues" in line]
    assert "0 bytes are free" in said
    assert "rows of metrics.db" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while(small_disk: Path) -> None:
    process = start(
        small_disk, *LONG, "--checkpoints", str(small_disk.parent / "checkpoints"),
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(small_disk / "run", process, steps_taken)
    ballast = fill(small_disk)
    time.sleep(3)
    ballast.unlink()
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    result = result_of(small_disk)
    assert result["status"] == "preempted"
    with sqlite3.connect(small_disk / "run" / "metrics.db") as metrics:
        steps, last = metrics.execute("SELECT COUNT(*), MAX(step) FROM steps").fetchone()
    assert steps == last == result["steps"], "no step is missing"
    assert result["final"]["loss"] > 0


# Limits.


@pytest.mark.skipif(os.getuid() != 0, reason="a second user is made by root, whom limits of processes do not concern")
@pytest.mark.parametrize(("backend", "limit"), [("local", 150), slow("ray", 150)])
def test_too_few_processes(tmp_path: Path, backend: str, limit: int) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, ANOTHER_USER, ANOTHER_USER)
    for parent in list(folder.parents)[:3]:
        parent.chmod(0o755)
    command = [*as_another_user(f"--nproc={limit}"), *COMMAND[:-1], backend, "--out", str(folder / "run")]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"HOME": str(folder), "TMPDIR": "/tmp"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "tasks need at least 240 more. Raise the limit" in done.stderr
    assert "Traceback" not in done.stderr
