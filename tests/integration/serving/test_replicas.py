"""`regatta serve` with several replicas, on this host and on a cluster, and with a token."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import ROOT, regatta
from tests.integration.ray_nodes import Node, head_here
from tests.integration.serving.real_server import PATIENCE, Load, command_line, serving, write_models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(autouse=True)
def _awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives a cluster's workers a niceness of 15, with which they hardly start on a machine that is busy."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


ROWS = {"instances": [[1.0, 2.0, 3.0]]}


def test_one_of_two_replicas_may_die(tmp_path: Path) -> None:
    write_models(tmp_path)
    environment = os.environ | {"SERVE_TOKEN": "a secret"}
    with serving(tmp_path, "--replicas", "2", "--token-variable", "SERVE_TOKEN", env=environment) as server:
        assert requests.post(server.url, json=ROWS, timeout=PATIENCE).status_code == 401
        replicas = server.replicas()
        assert len(replicas) == 2
        with Load(server.url, clients=6, token="a secret") as load:
            load.until("v1", 0)
            killed = time.monotonic()
            replicas[0].kill()
            load.until("v1", killed)
            deadline = time.monotonic() + PATIENCE
            while len(server.replicas()) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            load.until("v1", time.monotonic())
        assert {(code, whose) for _, code, whose in load.answered} == {(200, "v1")}
        assert replicas[0] not in server.replicas()
        assert "a secret" not in "".join(server.lines)


def test_on_a_cluster(tmp_path: Path) -> None:
    write_models(tmp_path)
    with head_here(Node(cpus=4)) as head:
        environment = os.environ | head.env
        with serving(tmp_path, "--address", head.gcs, "--replicas", "2", env=environment) as server:
            assert requests.post(server.url, json=ROWS, timeout=PATIENCE).json() == {"predictions": [[14.0]]}
            mark = f"ServeReplica:regatta-my_model-{server.process.pid}"
            found = [process for process in psutil.process_iter() if mark in command_line(process)]
            assert len(found) == 2
            assert server.replicas() == []  # they are the cluster's processes
            server.process.terminate()
            assert server.process.wait(PATIENCE) == 0, "".join(server.lines)
        assert psutil.wait_procs(found, 60)[1] == []


def test_serve_takes_the_config_file(tmp_path: Path) -> None:
    """`serve run` reads a config file as `serve deploy` does, which takes it to the dashboard's address."""
    write_models(tmp_path)
    port = free_port()
    written = regatta(
        "serve-config", str(tmp_path / "versions"), "--name", "my_model", "--port", str(port), "--out", "serve.yaml",
        cwd=tmp_path,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    path = f"http://127.0.0.1:{port}/v1/models/my_model"
    with head_here(Node(cpus=4)) as head, (tmp_path / "log").open("w+") as log:
        variables = json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})
        options = ["--address", head.gcs, "--runtime-env-json", variables, "--app-dir", str(tmp_path)]
        command = [sys.executable, "-P", "-m", "ray.serve.scripts", "run", "serve.yaml", *options]
        environment = os.environ | head.env
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT) as process:
            try:
                deadline = time.monotonic() + PATIENCE
                while not _answers(path):
                    assert process.poll() is None, (tmp_path / "log").read_text()
                    assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                    time.sleep(0.5)
                assert requests.post(f"{path}:predict", json=ROWS, timeout=60).json() == {"predictions": [[14.0]]}
                assert requests.post(f"{path}:predict", data=b"{", timeout=60).status_code == 400
                assert requests.get(f"{path}/versions/1/metadata", timeout=60).status_code == 200
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
