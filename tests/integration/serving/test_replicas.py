"""`regatta serve` with several replicas, on this host and on a cluster, and with a token."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
import requests

from tests.integration.ray_nodes import Node, head_here
from tests.integration.serving.real_server import PATIENCE, Load, serving, write_models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
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
            found = [process for process in psutil.process_iter() if mark in " ".join(_command(process))]
            assert len(found) == 2
            assert server.replicas() == []  # they are the cluster's processes
            server.process.terminate()
            assert server.process.wait(PATIENCE) == 0, "".join(server.lines)
        assert psutil.wait_procs(found, 60)[1] == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
