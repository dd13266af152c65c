"""The hosts of `tests/integration/hosts.py` themselves: apart, joined, cut, slowed, and gone afterwards."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.hosts import Host, Switch, require_hosts

SERVE = """
import socket, sys
server = socket.create_server(("", 5000))
while True:
    client, _ = server.accept()
    while client.recv(1 << 20):
        pass
    client.sendall(b"done")
"""
SEND = """
import socket, sys, time
client = socket.create_connection((sys.argv[1], 5000), timeout=3)
start = time.monotonic()
client.sendall(bytes(int(sys.argv[2])))
client.shutdown(socket.SHUT_WR)
client.recv(4)
print(time.monotonic() - start)
"""


@pytest.fixture(autouse=True)
def hosts_are_possible() -> None:
    require_hosts()


def seconds_to_send(source: Host, target: Host, size: int) -> float:
    return float(source.run(sys.executable, "-c", SEND, target.address, str(size)))


def reaches(source: Host, target: Host) -> bool:
    command = source.command(sys.executable, "-c", SEND, target.address, "1")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_two_hosts(tmp_path: Path) -> None:
    here = socket.if_nameindex()
    with Switch() as switch, switch.host("one") as one, switch.host("two", hidden=[tmp_path]) as two:
        (tmp_path / "file").touch()
        assert [host.run("hostname").strip() for host in (one, two)] == ["one", "two"]
        assert [host.run("ls", tmp_path).strip() for host in (one, two)] == ["file", ""]
        server = two.start(sys.executable, "-c", SERVE, env={}, log=tmp_path / "log")
        deadline = time.monotonic() + 60
        while not reaches(one, two) and time.monotonic() < deadline:
            time.sleep(0.05)
        before = two.received()
        assert seconds_to_send(one, two, 20_000_000) < 1
        assert 20e6 < two.received() - before < 30e6
        one.limit(100)
        assert 0.75 < seconds_to_send(one, two, 12_500_000) / 1.0 < 3
        one.limit(None)
        two.set_link("down")
        assert not reaches(one, two)
        two.set_link("up")
        assert reaches(one, two)
        two.kill()
        assert server.wait(10) != 0
        assert not reaches(one, two)
        inside = [host._space.pid for host in (one, two)]
    assert not any(Path("/proc", pid).exists() for pid in inside)
    assert socket.if_nameindex() == here


def test_nothing_is_left_of_a_killed_test(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom tests.integration.hosts import Switch\n"
        "with Switch() as switch, switch.host('one') as one:\n    print(one._space.pid, flush=True)\n    time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid = child.stdout.readline().strip()
    assert Path("/proc", pid).exists()
    child.kill()
    child.wait()
    deadline = time.monotonic() + 60
    while Path("/proc", pid).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path("/proc", pid).exists()
