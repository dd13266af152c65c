"""Network addresses of replicas: `host:port` as text, and ports reserved for TensorFlow's server.

TensorFlow's gRPC server cannot take over a bound socket (it refuses SO_REUSEPORT), so the port is held until just
before the server starts. It lies below the kernel's ephemeral range, so that no outgoing connection of another process
can take it in between. If another process takes it all the same, the group is relaunched with new ports.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LOWEST_PORT = 15_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 200
_BACKLOG = 128
_CONNECT_SECONDS = 3.0


class Reservation:
    """A port bound on `host` until `release` is called."""

    def __init__(self, host: str) -> None:
        self._socket, self.port = _bind()
        self.address = join(host, self.port)
        if not _is_loopback(host):
            self._socket.listen(_BACKLOG)  # peers connect to test whether they can reach it: see `unreachable`

    def release(self) -> None:
        self._socket.close()


def join(host: str, port: int) -> str:
    """Join `host` and `port` to `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Split `host:port` into host (without brackets) and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def unreachable(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the `addresses` that this host cannot connect to within a few seconds."""
    if not addresses:
        return ()
    with ThreadPoolExecutor(min(32, len(addresses))) as pool:
        return tuple(a for a, ok in zip(addresses, pool.map(_can_connect, addresses), strict=True) if not ok)


def _can_connect(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(split(address), timeout=_CONNECT_SECONDS):
        return True
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind() -> tuple[socket.socket, int]:
    highest = _first_ephemeral_port() - 1
    # TensorFlow's server listens on [::]:port, so the port has to be free on that address.
    family, any_address = (socket.AF_INET6, "::") if _has_ipv6() else (socket.AF_INET, "")
    for _ in range(_TRIES):
        port = random.randint(_LOWEST_PORT, highest)  # noqa: S311
        held = socket.socket(family, socket.SOCK_STREAM)
        try:
            held.bind((any_address, port))
        except OSError:
            held.close()
            continue
        return held, port
    raise OSError(f"no free port between {_LOWEST_PORT} and {highest} after {_TRIES} tries")


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::", 0))
        return True
    return False


def _first_ephemeral_port() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return max(_LOWEST_PORT + 1000, int(_EPHEMERAL_RANGE.read_text().split()[0]))
    return 32_768
