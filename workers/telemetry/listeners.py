"""Listening sockets of Ray's and Regatta's processes on this host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import psutil

from workers.session import SESSION_MARK

_RAY = re.compile(r"[/\\](?:site|dist)-packages/ray/|^ray::|^ray\.|(?:^|/)(?:gcs_server|raylet)$")


OURS = "regatta task"
"""The name that is shown for Regatta's own processes."""
SERVE = "regatta serve"
"""The name of the command that answers requests."""
_DRIVER = "driver of regatta serve"
"""The sockets that Ray opens in the command's process."""


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket."""

    process: str
    pid: int
    address: str
    """The address it is bound to: `::` and `0.0.0.0` stand for all addresses of the host."""
    port: int

    @property
    def is_public(self) -> bool:
        """Whether other hosts may be able to reach it."""
        address = ipaddress.ip_address(self.address.partition("%")[0])
        return not (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.process} ({self.pid}) {host}:{self.port}"


def listeners() -> tuple[Listener, ...]:
    """The sockets of all processes that this user may inspect; root may inspect those of all users."""
    return tuple(sorted(_find(), key=lambda found: (found.process, found.pid, found.port)))


def _find() -> Iterator[Listener]:
    for process in psutil.process_iter():
        try:
            name = _name(process)
            if name is None:
                continue
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    address = connection.laddr.ip
                    shown = _DRIVER if name == SERVE and _is_rays(address, process.cmdline()) else name
                    yield Listener(shown, process.pid, address, connection.laddr.port)
        except (psutil.Error, OSError):  # it has ended, or belongs to another user
            continue


def _name(process: psutil.Process) -> str | None:
    """The name to show for a process; None if it is neither Ray's nor Regatta's."""
    command = process.cmdline()
    if serves(command):
        return SERVE
    ray_parts = [part for part in command if _RAY.search(part)]
    if not ray_parts and SESSION_MARK not in process.environ():
        return None
    if not process.name().startswith("python"):
        return str(process.name())
    return ray_parts[0].rpartition("/")[2] if ray_parts else OURS


def serves(command: Sequence[str]) -> bool:
    """Whether a command line is that of `regatta serve`, started by the script or by Python."""
    return any(
        part == "serve" and (before.rpartition("/")[2] == "regatta" or "orchestrator.cli" in before)
        for before, part in pairwise(command)
    )


def _is_rays(address: str, command: Sequence[str]) -> bool:
    """Ray listens on `::`, the command on what `--host` says."""
    return address == "::" and not any(part in ("::", "--host=::") for part in command)
