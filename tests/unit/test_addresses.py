"""Ports that are reserved until TensorFlow's server binds them."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from pathlib import Path

import pytest

from workers import addresses
from workers.addresses import Reservation

pytestmark = pytest.mark.unit


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            assert error.errno == errno.EADDRINUSE
            return False
    return True


def test_a_port_is_held_until_it_is_released() -> None:
    held = Reservation("127.0.0.1")
    assert held.address == f"127.0.0.1:{held.port}"
    assert not is_free(held.port)
    held.release()
    assert is_free(held.port)
    held.release()


def test_many_ports_are_all_different() -> None:
    held = [Reservation("localhost") for _ in range(50)]
    assert len({reservation.port for reservation in held}) == 50
    for reservation in held:
        reservation.release()


@pytest.mark.parametrize(
    ("host", "written"),
    [("10.0.0.7", "10.0.0.7"), ("node-3", "node-3"), ("::1", "[::1]"), ("fe80::1%2", "[fe80::1%2]")],
)
def test_addresses_of_names_ipv4_and_ipv6(host: str, written: str) -> None:
    held = Reservation(host)
    held.release()
    assert held.address == f"{written}:{held.port}"


@pytest.mark.parametrize(
    ("kernel", "highest"),
    [
        ("32768\t60999\n", 32_767),
        ("20000 30000", 19_999),
        ("1024 65535", 15_999),
        ("what?", 32_767),
        (None, 32_767),
    ],
)
def test_ports_lie_below_the_ephemeral_ones(
    kernel: str | None, highest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "range"
    if kernel is not None:
        path.write_text(kernel)
    asked: list[tuple[int, int]] = []

    def record_range(low: int, high: int) -> int:
        asked.append((low, high))
        return random.Random(0).randrange(low, high + 1)

    monkeypatch.setattr(addresses, "_EPHEMERAL_RANGE", path)
    monkeypatch.setattr(random, "randint", record_range)
    # The port drawn may be taken; only the range asked for matters.
    monkeypatch.setattr(addresses, "_TRIES", 1)
    with contextlib.suppress(OSError):
        Reservation("localhost").release()
    assert asked == [(15_000, highest)]


def test_a_host_without_a_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Reservation("localhost")
    monkeypatch.setattr(random, "randint", lambda _low, _high: held.port)
    with pytest.raises(OSError, match=r"no free port between 15000 and \d+ after 200 tries"):
        Reservation("localhost")
    held.release()


def test_a_host_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_has_ipv6", lambda: False)
    held = Reservation("localhost")
    assert not is_free(held.port)
    held.release()
