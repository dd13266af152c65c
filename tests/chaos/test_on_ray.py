"""Faults through the command line and Ray: tasks and their supervisors are killed, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from orchestrator.results import RunResult
from tests.chaos.checker import check_run
from tests.chaos.history import History
from tests.integration.local_runs import JOBS
from tests.integration.processes import Ready, all_gone, counted, marked, wait_for
from tests.integration.ray_nodes import Node, head_here
from tests.marked import fast

BATCH, INTERVAL = 32, 100


class Command:
    """`regatta run`, in the background."""

    def __init__(
        self,
        folder: Path,
        mode: str,
        steps: int,
        *options: str,
        env: Mapping[str, str] = MappingProxyType({}),
        job: str = "exact.py",
    ) -> None:
        self.run = folder / "run"
        self._mark = f"REGATTA_TEST={uuid.uuid4().hex}"
        per_step = 2 * BATCH if mode == "sync" else BATCH
        flags = {
            "mode": mode,
            "workers": 2,
            "batch-size": BATCH,
            "samples": steps * per_step,
            "eval-every": steps * per_step // 4,
            "checkpoint-every": INTERVAL * per_step,
            "steps-per-call": 20,
            "hang-seconds": 5,
            "out": self.run,
        }
        given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "run",
             str(JOBS / job), *given, "--json", *options],
            cwd=folder, env=os.environ | dict([self._mark.split("=")]) | env, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_for(self, ready: Ready) -> None:
        wait_for(self.run, self._process, ready)

    def kill_task(self, task: str) -> None:
        with sqlite3.connect(f"file:{self.run / 'metrics.db'}?mode=ro", uri=True) as db:
            pids = db.execute("SELECT pid FROM tasks WHERE task = ? ORDER BY attempt DESC", (task,)).fetchone()
        os.kill(pids[0], signal.SIGKILL)

    def kill_a_supervisor(self) -> None:
        actors = [pid for pid, command in marked(self._mark).items() if command.startswith("ray::ReplicaActor")]
        os.kill(max(actors), signal.SIGKILL)

    def own_gcs_server(self) -> int:
        return next(pid for pid, command in marked(self._mark).items() if "gcs_server" in command)

    def left(self) -> dict[int, str]:
        return all_gone(self._mark)

    def failure(self) -> tuple[int, str]:
        """Exit code and output of the command."""
        _, text = self._process.communicate(timeout=300)
        return self._process.returncode, text

    def result(self) -> RunResult:
        out, text = self._process.communicate(timeout=180)
        assert self._process.returncode == 0, text
        assert all_gone(self._mark) == {}
        assert out.startswith("{"), out[:500]
        return RunResult.model_validate(json.loads(out))


def steps_of(attempt: int, steps: int) -> Ready:
    def reached(db: sqlite3.Connection) -> bool:
        query = "SELECT COUNT(*) FROM steps WHERE attempt = ?"
        return bool(db.execute(query, (attempt,)).fetchone()[0] > steps)

    return reached


@pytest.mark.slow
def test_sync_survives_a_task_and_a_supervisor(tmp_path: Path) -> None:
    command = Command(tmp_path, "sync", 2500)
    command.wait_for(steps_of(1, 300))
    command.kill_task("worker:0")
    command.wait_for(steps_of(2, 300))
    command.kill_a_supervisor()
    result = command.result()
    history = check_run(command.run, result, 2500, INTERVAL)
    assert len(history.of("restart")) + len(history.of("replace")) == 2


@pytest.mark.slow
def test_training_on_a_cluster_does_not_notice_the_evaluators_supervisor(tmp_path: Path) -> None:
    """On a cluster that was there before, the supervisor that is first on a host starts its zygote."""
    with head_here(Node(cpus=6)) as head:
        options = ("--address", head.gcs, "--hang-seconds", "30")
        command = Command(tmp_path, "sync", 12000, *options, env=head.env)
        command.wait_for(steps_of(1, 300))
        os.kill(_supervisor("evaluator-0"), signal.SIGKILL)
        result = command.result()
    history = check_run(command.run, result, 12000, INTERVAL)
    assert result.attempts == 1
    assert [event.task for event in history.of("replace")] == ["evaluator:0"]
    assert "val_loss" in result.final


@pytest.mark.slow
def test_async_continues_without_a_worker_until_it_is_back(tmp_path: Path) -> None:
    # The waits for data let training last until the worker is back.
    options = ("--set", "milliseconds=8", "--hang-seconds", "30")
    command = Command(tmp_path, "async", 3000, *options, job="hungry.py")
    command.wait_for(steps_of(1, 300))
    command.kill_task("worker:1")
    result = command.result()
    history = check_run(command.run, result, 3000, INTERVAL)
    assert result.attempts == 1
    assert [event.task for event in history.of("rejoined")] == ["worker:1"]
    assert history.longest_gap() < 5
    assert History.read(command.run).of("replace")


@pytest.mark.parametrize("attached", fast([False, True], False), ids=["a Ray of its own", "a cluster"])
def test_a_lost_head_ends_the_run_which_can_be_resumed(tmp_path: Path, attached: bool) -> None:
    """Ray itself would wait for its head for a minute, and then end the driver without a message from Regatta."""
    with head_here(Node(cpus=6)) if attached else contextlib.nullcontext() as head:
        options, env = (("--address", head.gcs), head.env) if head else ((), {})
        command = Command(tmp_path, "sync", 10**8, *options, env=env)
        command.wait_for(counted("SELECT COUNT(*) FROM events WHERE kind = 'checkpoint'"))
        os.kill(_gcs_server(head.gcs) if head else command.own_gcs_server(), signal.SIGKILL)
        killed = time.monotonic()
        code, text = command.failure()
        assert time.monotonic() - killed < 40  # 7 s on a quiet machine; Ray's own end came after 57 to 61 s
    assert code == 4, text
    assert "Ray's head" in text
    assert "regatta resume" in text
    assert json.loads((command.run / "result.json").read_text())["status"] == "failed"
    assert list((command.run / "checkpoints").glob("*-1")), "what is resumed from"
    assert command.left() == {}


def _supervisor(task: str) -> int:
    """The actor that holds the log of `task`, such as evaluator-0; tests beside this one have such tasks as well."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if not (entry / "cmdline").read_bytes().startswith(b"ray::ReplicaActor"):
                continue
            opened = [str(link.readlink()) for link in (entry / "fd").iterdir()]
            if any(Path(name).name.startswith(f"{task}-{entry.name}-") for name in opened):
                return int(entry.name)
    raise AssertionError(f"{task} has no supervisor here")


def _gcs_server(address: str) -> int:
    port = address.rpartition(":")[2]
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"gcs_server") and any(port.encode() in word for word in words):
                return int(entry.name)
    raise AssertionError("no head is running")
