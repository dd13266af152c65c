"""A temporary folder that is swept under a run, and a clock that is set: neither costs it, or makes figures wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.faults.test_bad_day import COMMAND, LONG, result_of, start
from tests.integration.local_runs import JOBS
from tests.integration.processes import all_gone, counted, marked, wait_for
from tests.marked import slow
from tests.preloaded import compiled


@pytest.fixture
def temporary() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("backend", "below"), [("local", "batch-system-" + "job" * 10), slow("ray", "batch-system-" + "job" * 10)]
)
def test_a_temporary_folder_that_is_swept(tmp_path: Path, temporary: Path, backend: str, below: str) -> None:
    """Its path is as long as batch systems make them. After it was swept, as `tmpwatch` does, a task dies: there is
    still one zygote, from which its successor is forked. Nothing is left."""
    temporary /= below
    temporary.mkdir()
    mark = f"REGATTA_TEST={uuid.uuid4().hex}"
    env = os.environ | dict([mark.split("=")]) | {"TMPDIR": str(temporary)}
    process = start(tmp_path, *LONG, "--backend", backend, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_for(tmp_path / "run", process, counted("SELECT COUNT(*) FROM events WHERE kind = 'checkpoint'"))
        assert list(temporary.iterdir()), "the session's folder was there"
        for path in temporary.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        kill_task(tmp_path / "run", "worker:0")
        wait_for(tmp_path / "run", process, counted("SELECT COUNT(*) FROM steps WHERE attempt = 2"))
        forked = {pid for pid, command in marked(mark).items() if "workers.supervisor.zygote" in command}
        assert len([pid for pid in forked if psutil.Process(pid).ppid() not in forked]) == 1, "zygotes"
        process.send_signal(signal.SIGTERM)
        _, text = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, text
    assert "Traceback" not in text
    assert result_of(tmp_path)["status"] == "preempted"
    assert result_of(tmp_path)["attempts"] == 2
    assert all_gone(mark) == {}


@pytest.mark.slow
def test_ray_whose_folder_is_swept_fails_with_a_result_or_not_at_all(tmp_path: Path, temporary: Path) -> None:
    mark = f"REGATTA_TEST={uuid.uuid4().hex}"
    env = os.environ | dict([mark.split("=")]) | {"TMPDIR": str(temporary)}
    process = start(tmp_path, *LONG, "--backend", "ray", "--timeout", "25", "--max-restarts", "1",
                    "--launch-timeout", "40", "--hang-seconds", "10", env=env,
                    stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(tmp_path / "run", process, counted("SELECT COUNT(*) FROM events WHERE kind = 'checkpoint'"))
        assert list(temporary.rglob("sockets")), "Ray's folder was there"
        for path in temporary.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        supervisors = [pid for pid, command in marked(mark).items() if command.startswith("ray::ReplicaActor")]
        os.kill(min(supervisors), signal.SIGKILL)  # the evaluator's, which is first: Ray cannot start another
        _, text = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode in (0, 4), text
    assert "Traceback" not in text
    assert result_of(tmp_path)["status"] in ("stopped", "failed")
    assert all_gone(mark) == {}


def kill_task(run: Path, task: str) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{run / 'metrics.db'}?mode=ro", uri=True)) as metrics:
        (pid,) = metrics.execute("SELECT pid FROM tasks WHERE task = ? ORDER BY attempt DESC", (task,)).fetchone()
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_clock_that_is_set_makes_no_worker_slow(tmp_path: Path) -> None:
    """Twice in every two seconds, that of worker:1's host, while the workers wait for their data: what that touched is
    not known, and what is known is right."""
    library = compiled("stepped_clock", tmp_path)
    # On parameter servers, where the clock of a step is TensorFlow's.
    options = ("--mode", "kasync:1", "--workers", "2", "--batch-size", "32", "--samples", str(32 * 600), "--json")
    command = [*COMMAND[:-3], str(JOBS / "hungry.py"), "--backend", "local", "--out", str(tmp_path / "run"), *options]
    env = os.environ | {"LD_PRELOAD": str(library), "STEPPED": '"index": 1'}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "straggler" not in [found["kind"] for found in result["stability"]["findings"]]
    assert 0 < result["seconds"]["training"] < result["seconds"]["total"] < 300
    assert all((worker["step_seconds"] or 0) < 1 for worker in result["timing"]["workers"].values())
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "metrics.db")) as metrics:
        unknown = metrics.execute("SELECT worker, SUM(busy IS NULL), COUNT(*) FROM timings GROUP BY worker").fetchall()
        wrong = "busy > seconds OR input_wait > busy OR communication > busy OR seconds > 10"
        assert metrics.execute(f"SELECT COUNT(*) FROM timings WHERE {wrong}").fetchone() == (0,)
    (first, none, _), (second, some, all_) = unknown
    assert (first, second) == (0, 1)
    assert none == 0
    assert 0 < some < all_ / 2
