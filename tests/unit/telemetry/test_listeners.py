"""Listening sockets of Ray's and Regatta's processes, as `regatta doctor` lists them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workers.session import SESSION_MARK
from workers.telemetry.listeners import Listener, listeners, serves

LISTEN = """
import socket, sys
held = [socket.create_server((host, 0)) for host in ("127.0.0.1", "0.0.0.0")]
print(*(server.getsockname()[1] for server in held), flush=True)
sys.stdin.read()
"""


# Not marked `unit`: reading every process of a busy host takes seconds.
def test_sockets_of_our_processes_are_found() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {SESSION_MARK: "listening"},
    ) as child:  # fmt: skip
        assert child.stdin
        assert child.stdout
        inner, outer = map(int, child.stdout.readline().split())
        mine = [one for one in listeners() if one.pid == child.pid]
        child.stdin.close()
    assert [(one.port, one.is_public) for one in sorted(mine, key=lambda one: one.is_public)] == [
        (inner, False),
        (outer, True),
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::", True),
        ("0.0.0.0", True),
        ("10.0.0.3", True),
        ("fe80::1%eth0", True),
    ],
)
def test_addresses_that_other_hosts_can_reach(address: str, public: bool) -> None:
    assert Listener("raylet", 7, address, 6379).is_public == public


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/venv/bin/python3", "/venv/bin/regatta", "serve", "runs/a"], True),
        (["python", "-P", "-c", "from orchestrator.cli.main import main; main()", "serve", "runs/a"], True),
        (["/venv/bin/python3", "/venv/bin/regatta", "run", "serve"], False),
        (["nginx", "serve"], False),
        ([], False),
    ],
)
def test_which_command_serves(command: list[str], expected: bool) -> None:
    assert serves(command) is expected
