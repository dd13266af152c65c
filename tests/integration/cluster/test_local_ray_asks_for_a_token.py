"""A Ray cluster that Regatta starts refuses every client without the token, and has workers that are not niced."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marked import slow

# Every method that any of Ray's servers would act on; a server knows some of them, and asks for the token first.
KNOCK = """
import json, sys
from orchestrator.cluster.connection import RayBackend
from orchestrator.spec.run import RunSpec
from workers.session import session_directory

METHODS = [
    "/ray.rpc.NodeInfoGcsService/GetClusterId", "/ray.rpc.JobInfoGcsService/AddJob",
    "/ray.rpc.CoreWorkerService/PushTask", "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "/ray.rpc.ObjectManagerService/Pull",
]


def answers(address):
    import grpc

    for method in METHODS:
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                channel.unary_unary(method)(b"", timeout=20)
                yield "let in"
            except grpc.RpcError as error:
                yield error.code().name


with RayBackend("knocking", RunSpec(job="digits"), ()):
    import psutil

    found = {}
    folder = session_directory("knocking")
    assert (folder / "ray" / "session_latest" / "sockets").is_dir(), list(folder.rglob("*"))
    assert folder.parent.stat().st_mode & 0o077 == 0
    for process in psutil.Process().children(recursive=True):
        for connection in process.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                found[f"{process.name()} {connection.laddr.port}"] = list(answers(f"127.0.0.1:{connection.laddr.port}"))
    print(json.dumps(found))
    import os, ray
    # Supervisors are workers of Ray's, and have to answer on a busy host.
    assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
assert not (folder / "ray").exists()
folder.rmdir()
"""


@pytest.mark.parametrize("mode", [slow(""), "disabled"])
def test_no_port_or_file_of_ray_lets_anybody_in(tmp_path: Path, mode: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"HOME": str(tmp_path)} | ({"RAY_AUTH_MODE": mode} if mode else {})
    done = subprocess.run(
        [sys.executable, "-P", "-c", KNOCK],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert not any("let in" in answers or "OK" in answers for answers in found.values()), found
    refused = [name for name, answers in found.items() if "UNAUTHENTICATED" in answers]
    assert any(name.startswith("gcs_server") for name in refused)
    assert any(name.startswith("raylet") for name in refused)
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) == 64
    assert token.read_text() not in done.stdout + done.stderr
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]
