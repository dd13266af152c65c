"""What `--address auto` means: the Ray that this user, or root, has started on this host.

Ray itself joins whatever it finds in the process list and in a file that every user may write (2.60), and so anyone's
cluster: the job and its secrets would run under another user.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import ClusterError
from workers.addresses import split
from workers.session import SESSION_MARK

_GCS = "--gcs-address="
PROC = Path("/proc")


class _Node(NamedTuple):
    owner: int
    gcs: str
    """The cluster's address."""
    sockets: tuple[str, ...]
    """Paths; empty where they are not known."""


def named() -> str | None:
    """The address in RAY_ADDRESS, which Ray sets for a submitted job; None if there is none."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "auto", "local") else address


def search(proc: Path = PROC) -> str:
    """The address of the one Ray cluster here that is this user's, or root's.

    Raises:
        ClusterError: there is none, or there are several.
    """
    found, others = set(), 0
    for node in _raylets(proc):
        if node.owner in (0, os.getuid()):
            found.add(node.gcs)
        else:
            others += 1
    if len(found) == 1:
        return found.pop()
    if found:
        raise ClusterError(f"Several Ray clusters run here: give --address one of {', '.join(sorted(found))}.")
    stranger = " One of another user does; if it is to be joined, give --address its HOST:PORT." if others else ""
    raise ClusterError(
        f"No Ray cluster of yours runs on this host, which `auto` would join.{stranger} `ray start --head` starts one; "
        "without --address Regatta starts its own."
    )


def check_sockets(address: str, proc: Path = PROC) -> None:
    """Make sure that this user may write to the sockets of the node here of the cluster at `address` (HOST:PORT).

    Ray ends the process with SIGABRT otherwise (2.60), and prints a C++ stack.

    Raises:
        ClusterError: names the owner, and the way in for other users.
    """
    host, port = split(address)
    nodes = [node for node in _raylets(proc) if split(node.gcs)[1] == port and _same_host(host, split(node.gcs)[0])]
    refused = [node for node in nodes if not all(os.access(path, os.W_OK) for path in node.sockets if path)]
    if nodes and len(refused) == len(nodes):
        raise ClusterError(
            f"The Ray at {address} belongs to {_name(refused[0].owner)}, and its sockets on this host do not accept "
            f"{_name(os.getuid())}. Attach with --address ray://HOST:10001, use `regatta submit`, or become that user."
        )


def _same_host(given: str, known: str) -> bool:
    """Whether both may mean one host; `known` is the address of a node here, which loopback means too."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(given, None)}
        return given == known or any(map(_is_loopback, addresses)) or known in addresses
    except OSError:
        return False


def _is_loopback(address: str | int) -> bool:
    return str(address) == "::1" or str(address).startswith("127.")


def _name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with id {uid}"


def _raylets(proc: Path) -> Iterator[_Node]:
    """The Ray nodes here, but for those that Regatta started for a run of its own."""
    for entry in proc.glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(arguments[0]).name != "raylet":
                continue
            owner = entry.stat().st_uid
            ours = _is_of_a_session(entry) if owner == os.getuid() else False
        except OSError:  # it ended meanwhile
            continue
        values = [_value(arguments, flag) for flag in (_GCS, "--raylet_socket_name=", "--store_socket_name=")]
        if values[0] and not ours:
            yield _Node(owner, values[0], tuple(values[1:]))


def _value(arguments: list[str], flag: str) -> str:
    return next((argument.removeprefix(flag) for argument in arguments if argument.startswith(flag)), "")


def _is_of_a_session(entry: Path) -> bool:
    mark = f"{SESSION_MARK}=".encode()
    return any(variable.startswith(mark) for variable in (entry / "environ").read_bytes().split(b"\0"))
