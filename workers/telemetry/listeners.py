"""Which of Ray's and Regatta's processes listen on this host, and where."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from workers.session import SESSION_MARK

_RAY = re.compile(r"[/\\](?:site|dist)-packages/ray/|^ray::|^ray\.|(?:^|/)(?:gcs_server|raylet)$")


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket."""

    process: str
    pid: int
    address: str
    """As it was bound: `::` and `0.0.0.0` are all of the host's addresses."""
    port: int

    @property
    def is_public(self) -> bool:
        """Whether other hosts might reach it."""
        address = ipaddress.ip_address(self.address.partition("%")[0])
        return not (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.process} ({self.pid}) {host}:{self.port}"


def listeners() -> tuple[Listener, ...]:
    """Of all processes that may be looked into: this user's; for root everybody's."""
    return tuple(sorted(_find(), key=lambda one: (one.process, one.pid, one.port)))


def _find() -> Iterator[Listener]:
    for process in psutil.process_iter():
        try:
            name = _name(process)
            if name is None:
                continue
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield Listener(name, process.pid, connection.laddr.ip, connection.laddr.port)
        except (psutil.Error, OSError):  # it ended, or is another user's
            continue


def _name(process: psutil.Process) -> str | None:
    """What to call it; None for a process that is neither Ray's nor Regatta's."""
    command = process.cmdline()
    signs = [part for part in command if _RAY.search(part)]
    if not signs and SESSION_MARK not in process.environ():
        return None
    if not process.name().startswith("python"):
        return str(process.name())
    return signs[0].rpartition("/")[2] if signs else "regatta task"
