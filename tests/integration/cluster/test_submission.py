"""`regatta submit` and the commands for submitted runs, on a real head with its dashboard and token."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import regatta
from tests.integration.cluster.conftest import Shared
from tests.integration.ray_nodes import REGATTA, Head
from tests.integration.scripts.test_several_fits import STAGES, has_plain_numbers
from tests.integration.scripts.test_unchanged_scripts import SCRIPTS, plain, printed
from tests.integration.sweep.test_sweep import SCRIPT

if importlib.util.find_spec("aiohttp_cors") is None:
    pytest.skip("needs ray[default], for its dashboard", allow_module_level=True)

JOB = """
import near
from jobs.digits import Digits


class Mine(Digits):
    def build_model(self):
        return near.model(super().build_model)


class Fails(Digits):
    def build_model(self):
        return near.model(None)
"""
NEAR = """
def model(build):
    if build is None:
        raise RuntimeError("no such layer near the job")
    return build()
"""
CHATTY = """
import os
from jobs.digits import Digits


class Chatty(Digits):
    def build_model(self):
        print("the secret is", os.environ["HEADS_SECRET"])
        return super().build_model()
"""
LONG = "1000000000"


@dataclass(frozen=True)
class Cluster:
    head: Head
    home: Path
    """Home directory of the cluster's jobs."""
    folder: Path
    """The user's working directory."""
    secret: str
    """Value of HEADS_SECRET, which the head's environment holds."""

    def regatta(self, *arguments: str, address: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        given = dict(self.head.env) | {"RAY_API_SERVER_ADDRESS": address or self.head.dashboard} | env
        return regatta(*arguments, cwd=self.folder, **given)

    def start(self, *arguments: str, address: str) -> subprocess.Popen[str]:
        given = dict(self.head.env) | {"RAY_API_SERVER_ADDRESS": address}
        return subprocess.Popen(
            [*REGATTA, *arguments], cwd=self.folder, env=os.environ | given, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def status(self, run: str) -> Any:
        return json.loads(self.regatta("status", run, "--json").stdout)


@pytest.fixture(scope="module")
def cluster(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("user")
    (folder / "chatty.py").write_text(CHATTY)
    (folder / "mine.py").write_text(JOB)
    (folder / "near.py").write_text(NEAR)
    return Cluster(shared.head, shared.home, folder, shared.secret)


class Proxy:
    """A port that forwards to the dashboard while `open`, and resets every connection otherwise."""

    def __init__(self, dashboard: str) -> None:
        self._target = ("127.0.0.1", int(dashboard.rpartition(":")[2]))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.open = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._server.accept()
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            other = {client: server, server: client}
            while self.open:
                for ready in select.select(list(other), [], [], 0.1)[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    other[ready].sendall(data)


@pytest.mark.slow
def test_a_sweep_of_a_scripts_arguments(cluster: Cluster) -> None:
    (cluster.folder / "train.py").write_text(SCRIPT)
    done = cluster.regatta(
        "submit", "train.py", "--param", "lr=log:1e-3..1e-1", "--trials", "2", "--mode", "single", "--run-id", "search",
        "--wait", "--json", "--", "--lr", "{lr}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rates = [trial["params"]["lr"] for trial in json.loads(done.stdout)["trials"]]
    assert len(set(rates)) == 2
    assert cluster.regatta("fetch", "search").returncode == 0
    logs = [path.read_text() for path in sorted(cluster.folder.glob("runs/search/runs/*/logs/worker-0.log"))]
    assert [f"trained with {rate} 8" in log for rate, log in zip(rates, logs, strict=True)] == [True, True]
    assert json.loads(cluster.regatta("submissions", "--json").stdout)[0]["command"] == "sweep"


@pytest.mark.slow
def test_a_comparison_from_submission_to_its_files(cluster: Cluster) -> None:
    done = cluster.regatta(
        "submit", "mine.py:Mine", "--seeds", "1", "--run-id", "first", "--label", "team=rowing", "--label", "why=test",
        "--owner", "ana", "--wait", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {mode: len(of["runs"]) for mode, of in document["modes"].items()} == {"single": 1, "sync": 1, "async": 1}
    assert "sync seed 0: done, reached val_accuracy>=0.95" in done.stderr
    assert "job_manager.py" not in done.stderr

    fetched = cluster.regatta("fetch", "first", "--json")
    assert fetched.returncode == 0, fetched.stderr
    here, there = cluster.folder / "runs" / "first", cluster.home / "regatta-runs" / "first"
    assert json.loads((here / "comparison.json").read_text()) == document
    hashes = [
        {
            p.relative_to(top).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in top.rglob("*")
            if p.is_file()
        }
        for top in (here, there)
    ]
    assert hashes[0] == hashes[1]
    assert json.loads(fetched.stdout)["files"] == len(hashes[0]) > 10

    everything = json.loads(cluster.regatta("submissions", "--json").stdout)
    (listed,) = (one for one in everything if one["run"] == "first")
    assert listed["labels"] == {"team": "rowing", "why": "test"}
    assert (listed["run"], listed["owner"], listed["job"], listed["status"]) == (
        "first",
        "ana",
        "mine.py:Mine",
        "SUCCEEDED",
    )
    assert "first" in cluster.regatta("submissions").stdout

    again = cluster.regatta("submit", "mine.py:Mine", "--run-id", "first")
    assert again.returncode == 2
    assert "'first' was submitted" in again.stderr
    twice = cluster.regatta("fetch", "first")
    assert twice.returncode == 2
    assert "is taken" in twice.stderr


@pytest.mark.slow
def test_a_script_travels_with_its_modules_and_arguments(cluster: Cluster) -> None:
    for name in ("images.py", "images_model.py"):
        shutil.copy(SCRIPTS / name, cluster.folder)
    done = cluster.regatta(
        "submit", "images.py", "--mode", "sync", "--run-id", "script", "--wait", "--json", "--", "--epochs", "2"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["status"], document["steps"]) == ("succeeded", 40)
    assert "val_accuracy" in document["final"]
    assert printed(cluster.regatta("logs", "script").stdout, "scores").keys() == {"accuracy", "loss"}


@pytest.mark.slow
def test_a_script_with_several_fits_is_submitted(cluster: Cluster) -> None:
    shutil.copy(SCRIPTS / "stages.py", cluster.folder)
    alone = plain("stages.py", cwd=cluster.folder)
    done = cluster.regatta("submit", "stages.py", "--mode", "sync", "--run-id", "stages", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [fit["status"] for fit in document["earlier_fits"]] == ["succeeded"] * 2
    has_plain_numbers(cluster.regatta("logs", "stages").stdout, alone, *STAGES)


@pytest.mark.slow
def test_following_survives_the_network_and_the_run_survives_both(cluster: Cluster) -> None:
    """The connection breaks and recovers during `logs -f`, which Ctrl-C ends; another `logs -f` sees the run end."""
    proxy = Proxy(cluster.head.dashboard)
    submitted = cluster.regatta(
        "submit", "digits", "--mode", "sync", "--samples", LONG, "--target", "val_accuracy>=2", "--run-id", "long",
        "--json", address=proxy.address,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    assert json.loads(submitted.stdout)["run"] == "long"
    following = cluster.start("logs", "-f", "long", address=proxy.address)
    assert following.stdout is not None
    assert _reads(following, "samples")
    proxy.open = False
    assert _reads(following, "trying again")
    proxy.open = True
    assert _reads(following, "samples")
    following.send_signal(signal.SIGINT)
    _, text = following.communicate(timeout=20)
    assert following.returncode == 130
    assert "the run continues" in text
    assert cluster.status("long")["status"] == "RUNNING", cluster.regatta("logs", "long").stdout[-2000:]
    assert "sync seed 0: 0 samples" in cluster.regatta("logs", "long").stdout

    watching = cluster.start("watch", "long", "--web", address=cluster.head.dashboard)
    assert watching.stdout is not None
    line = watching.stdout.readline()
    assert " http://127.0.0.1:" in line, watching.communicate(timeout=60)
    page = line.split()[1]
    shown = requests.get(page, timeout=60)
    assert shown.status_code == 200
    assert "Training. Read at" in shown.text
    assert "val_accuracy" in shown.text
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=60) == 130
    assert cluster.status("long")["status"] == "RUNNING", cluster.regatta("logs", "long").stdout[-2000:]
    refused = cluster.regatta("watch", "long")
    assert refused.returncode == 2
    assert "regatta watch long --web" in refused.stderr

    stopped = cluster.regatta("stop", "long")
    assert stopped.returncode == 0, stopped.stderr
    assert cluster.status("long")["status"] == "STOPPED"
    followed = cluster.regatta("logs", "-f", "long")
    assert followed.returncode == 130
    assert "was stopped" in followed.stderr
    assert cluster.regatta("fetch", "long").returncode == 0
    result = json.loads((cluster.folder / "runs" / "long" / "result.json").read_text())
    assert (result["status"], result["stop_reason"]) == ("stopped", "interrupted")
    assert result["steps"] > 0
    assert "had already ended" in cluster.regatta("stop", "long").stdout


@pytest.mark.slow
def test_the_users_failure_comes_back_as_if_it_were_here(cluster: Cluster) -> None:
    done = cluster.regatta("submit", "mine.py:Fails", "--run", "--run-id", "fails", "--wait")
    assert done.returncode == 3, done.stderr
    assert f'File "{cluster.folder / "near.py"}", line 4, in model' in done.stdout
    assert 'raise RuntimeError("no such layer near the job")' in done.stdout
    status = cluster.status("fails")
    assert (status["status"], status["exit_code"]) == ("FAILED", 3)


def test_a_wrong_spec_is_refused_here(cluster: Cluster) -> None:
    for arguments in (("--batch-size", "0"), ("--set", "nonsense=1"), ("--run", "--compare")):
        refused = cluster.regatta("submit", "mine.py:Mine", "--run-id", "wrong", *arguments)
        assert refused.returncode == 2, refused.stderr
    assert cluster.regatta("status", "wrong").returncode == 2


def test_who_may_not(cluster: Cluster) -> None:
    wrong = cluster.regatta("submissions", RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode == 4
    assert "rejects yours" in wrong.stderr
    none = cluster.regatta("submit", "digits", RAY_AUTH_TOKEN="", HOME=str(cluster.folder))
    assert none.returncode == 4
    assert re.search("you have none.*RAY_AUTH_TOKEN", none.stderr)
    for address, code in (("http://127.0.0.1:9", 4), ("ray://127.0.0.1:10001", 2), ("127.0.0.1:6379", 2)):
        refused = cluster.regatta("submissions", address=address)
        assert (refused.returncode, "Traceback" in refused.stderr) == (code, False), refused.stderr


def _reads(process: subprocess.Popen[str], words: str, seconds: float = 240) -> bool:
    """Whether a line with `words` arrives in time."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 1.0)[0] and words in process.stdout.readline():
            return True
    return False


@pytest.mark.slow
def test_a_secret_of_the_head_is_never_shown(cluster: Cluster) -> None:
    """Only the secret's name is sent: the value is in the environment of `ray start`."""
    done = cluster.regatta(
        "submit", "chatty.py:Chatty", "--mode", "sync", "--samples", "1600", "--run-id", "hush", "--wait",
        "--env-secret", "HEADS_SECRET",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cluster.regatta("fetch", "hush").returncode == 0
    run = cluster.folder / "runs" / "hush"
    logs = "".join(path.read_text() for path in (run / "logs").iterdir())
    assert "the secret is [secret HEADS_SECRET]" in logs
    listed, printed = cluster.regatta("submissions", "--json"), cluster.regatta("logs", "hush")
    told = [done.stdout, done.stderr, listed.stdout, printed.stdout]
    known = requests.get(f"{cluster.head.dashboard}/api/jobs/", headers=bearer(cluster), timeout=20)
    assert "hush" in known.text
    assert not any(cluster.secret in text for text in [*told, known.text])
    assert not [path for path in run.rglob("*") if path.is_file() and cluster.secret.encode() in path.read_bytes()]


def bearer(cluster: Cluster) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.head.env['RAY_AUTH_TOKEN']}"}
