"""Ray as its users start it: `ray start`, with a token, on this machine or on hosts in namespaces."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT
from tests.integration.hosts import Host

RAY = [sys.executable, "-P", "-m", "ray.scripts.scripts"]
REGATTA = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()"]
GCS, CLIENT, DASHBOARD = 6379, 10001, 8265
# Ray's workers out of the range where our tasks take their ports, so that a test can cut the one and not the other.
_ASIDE = ["--min-worker-port=10002", "--max-worker-port=14999", "--disable-usage-stats"]
_TRIES = 3
"""Ray gives a node 30 s to start, which is short where others keep the machine busy."""
# Ray's niceness of 15 lets its workers starve beside other tests: a minute's test of a cluster took four.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_worker_niceness": "0"}
_CODE = [ROOT / package for package in ("orchestrator", "workers", "jobs")]


@dataclass(frozen=True)
class Node:
    """Arguments of `ray start` for one node."""

    cpus: int = 4
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> list[str]:
        labels = ",".join(f"{key}={value}" for key, value in self.labels.items())
        given = [f"--num-cpus={self.cpus}", f"--num-gpus={self.gpus}", "--object-store-memory=150000000"]
        return given + ([f"--labels={labels}"] if labels else [])


@dataclass(frozen=True)
class Head:
    """A running head, and how to reach it."""

    gcs: str
    client: str
    dashboard: str
    env: Mapping[str, str]
    """Environment of Ray's processes and of commands that use the cluster, with the token."""


@contextlib.contextmanager
def head_here(node: Node, *, dashboard: bool = False, home: Path | None = None) -> Iterator[Head]:
    """A head on this machine that knows nothing of our packages, on ports of its own; `home` is its jobs'."""
    for attempt in range(_TRIES):
        with _head(node, dashboard, home) as (head, problem):
            if head is not None:
                yield head
                return
        assert attempt < _TRIES - 1, problem


@contextlib.contextmanager
def _head(node: Node, dashboard: bool, home: Path | None) -> Iterator[tuple[Head | None, str]]:
    """A head that was told to start once; None, and its log, if it did not."""
    gcs, client, http = _free_ports(3)
    env = _environment()
    with tempfile.TemporaryDirectory(prefix="rr-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            *RAY, "start", "--head", "--block", f"--port={gcs}", f"--ray-client-server-port={client}",
            f"--dashboard-port={http}", f"--include-dashboard={str(dashboard).lower()}", f"--temp-dir={folder}",
            "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", "--disable-usage-stats",
            *node.options(),
        ]  # fmt: skip
        log = Path(folder, "start.log")
        with log.open("wb") as file:
            started = subprocess.Popen(
                command,
                env=_without_our_code() | env | ({"HOME": str(home)} if home else {}),
                stdout=file,
                stderr=file,
                cwd=folder,
                start_new_session=True,
            )
        try:
            if _has_started(started, log):
                yield Head(f"127.0.0.1:{gcs}", f"ray://127.0.0.1:{client}", f"http://127.0.0.1:{http}", env), ""
            else:
                yield None, log.read_text(errors="replace")
        finally:
            started.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(20)
            _end_session(folder)


@contextlib.contextmanager
def cluster_of(
    hosts: Sequence[Host], nodes: Sequence[Node], folder: Path, *, dashboard: bool = False
) -> Iterator[Head]:
    """A node on every host; the first is the head. Ends with its hosts."""
    first = hosts[0].address
    head = Head(f"{first}:{GCS}", f"ray://{first}:{CLIENT}", f"http://{first}:{DASHBOARD}", _environment())
    role = [f"--port={GCS}", "--head", "--dashboard-host=0.0.0.0", f"--include-dashboard={str(dashboard).lower()}"]
    for host, node in zip(hosts, nodes, strict=True):  # one by one: together they keep each other from being in time
        if host is hosts[0]:
            _start_node(host, node, role, head, folder)
        else:
            join(host, node, head, folder)
    yield head


def join(host: Host, node: Node, head: Head, folder: Path) -> None:
    """Add a node on `host` to the cluster of `head`; its log goes to `folder`."""
    _start_node(host, node, [f"--address={head.gcs}"], head, folder)


def _start_node(host: Host, node: Node, role: Sequence[str], head: Head, folder: Path) -> None:
    command = [*RAY, "start", "--block", f"--node-ip-address={host.address}", *_ASIDE, *role, *node.options()]
    log = folder / f"ray-{host.name}.log"
    for attempt in range(_TRIES):
        log.write_bytes(b"")
        started = host.start(*command, env={**head.env, "PYTHONPATH": ""}, log=log)
        if _has_started(started, log):
            return
        assert attempt < _TRIES - 1, log.read_text(errors="replace")


def private_folders() -> list[Path]:
    """Folders of which every host has its own."""
    return [Path("/tmp/ray"), Path(f"/tmp/regatta-{os.getuid()}")]


def code_folders() -> list[Path]:
    """Folders of our packages, hidden on hosts that have to get them from the driver."""
    return _CODE


def regatta_on(
    host: Host, *arguments: str | Path, cwd: Path, env: Mapping[str, str], timeout: float = 400
) -> subprocess.CompletedProcess[str]:
    """The command a user would type on `host`."""
    return subprocess.run(
        host.command(*REGATTA, *arguments, cwd=cwd),
        env=os.environ | {"COLUMNS": "100"} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _environment() -> dict[str, str]:
    return _QUIET | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _without_our_code() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def _has_started(started: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and started.poll() is None:
        if "Ray runtime started" in log.read_text(errors="replace"):
            return True
        time.sleep(0.2)
    return False


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def _end_session(folder: str) -> None:
    """Kill processes that `ray start --block` should have ended, but sometimes leaves (agents, under load)."""
    mark = folder.encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
