"""`--address auto` finds the Ray of this user, with real processes that are named as Ray's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cluster import discovery
from orchestrator.errors import ClusterError
from workers.session import SESSION_MARK

pytestmark = pytest.mark.unit

NOBODY = 65534
Raylet = Callable[..., None]


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(SESSION_MARK, raising=False)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """`/proc`, of the processes that a test starts only: others on this machine may run Ray."""
    folder = tmp_path / "proc"
    folder.mkdir()
    return folder


@pytest.fixture
def raylet(proc: Path) -> Iterator[Raylet]:
    """Starts a process that looks like a Ray node, as any user can."""
    with contextlib.ExitStack() as started:

        def start(address: str, uid: int = os.getuid(), sockets: str = "", **env: str) -> None:
            child = subprocess.Popen(
                [
                    "/opt/ray/raylet",
                    "-c",
                    "sleep 60; :",
                    f"--gcs-address={address}",
                    f"--raylet_socket_name={sockets}",
                    "--temp-dir=/tmp/ray",
                ],
                executable="/bin/sh",
                env={"PATH": "/bin:/usr/bin"} | env,
                user=uid if os.getuid() == 0 else None,
            )
            started.callback(child.wait)
            started.callback(child.kill)
            while b"gcs-address" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
                time.sleep(0.01)
            (proc / str(child.pid)).symlink_to(f"/proc/{child.pid}")

        yield start


def test_ours(raylet: Raylet, proc: Path) -> None:
    raylet("10.0.0.1:6379")
    raylet("10.0.0.1:6379")
    assert discovery.search(proc) == "10.0.0.1:6379"


def test_none(proc: Path) -> None:
    with pytest.raises(
        ClusterError, match=r"No Ray cluster of yours runs on this host, which `auto` would join\. `ray start"
    ):
        discovery.search(proc)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_that_of_another_user_is_not_joined(raylet: Raylet, proc: Path) -> None:
    raylet("10.6.6.6:6379", uid=NOBODY)
    with pytest.raises(ClusterError, match="One of another user does") as refused:
        discovery.search(proc)
    assert "10.6.6.6" not in refused.value.message
    raylet("10.0.0.1:6379")
    assert discovery.search(proc) == "10.0.0.1:6379"


def test_the_private_ones_of_other_runs_do_not_count(raylet: Raylet, proc: Path) -> None:
    raylet("127.0.0.1:1234", **{SESSION_MARK: "another"})
    with pytest.raises(ClusterError, match="No Ray cluster of yours"):
        discovery.search(proc)


def test_several(raylet: Raylet, proc: Path) -> None:
    raylet("10.0.0.1:6379")
    raylet("10.0.0.2:6379")
    with pytest.raises(ClusterError, match=r"one of 10\.0\.0\.1:6379, 10\.0\.0\.2:6379"):
        discovery.search(proc)


def test_a_submitted_job_is_told_by_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    assert discovery.named() is None
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert discovery.named() is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.3:6379")
    assert discovery.named() == "10.0.0.3:6379"


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "10.0.0.1:6379"])
def test_sockets_that_do_not_accept_us_are_said(raylet: Raylet, proc: Path, tmp_path: Path, address: str) -> None:
    raylet("10.0.0.1:6379", sockets=str(tmp_path / "there is none"))
    with pytest.raises(ClusterError, match=r"do not accept .* --address ray://HOST:10001"):
        discovery.check_sockets(address, proc)


@pytest.mark.parametrize("address", ["10.0.0.2:6379", "127.0.0.1:6380", "no-such-host.invalid:6379"])
def test_sockets_of_other_clusters_do_not_matter(raylet: Raylet, proc: Path, tmp_path: Path, address: str) -> None:
    raylet("10.0.0.1:6379", sockets=str(tmp_path / "there is none"))
    discovery.check_sockets(address, proc)


def test_sockets_that_accept_us(raylet: Raylet, proc: Path, tmp_path: Path) -> None:
    (tmp_path / "raylet").touch()
    raylet("10.0.0.1:6379", sockets=str(tmp_path / "raylet"))
    raylet("10.0.0.3:6379", sockets=str(tmp_path / "there is none"))
    discovery.check_sockets("127.0.0.1:6379", proc)
