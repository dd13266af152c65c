"""Sums over the workers of one host through shared memory. Each worker is a thread here."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from workers.errors import BROKEN_OFF
from workers.failures import classify
from workers.messages import FailureKind
from workers.modes import shared_memory
from workers.modes.shared_memory import SLOT_BYTES, SharedMemory, listen
from workers.session import peer_of

pytestmark = pytest.mark.unit

CHECK_INTERVAL = struct.pack("ll", 0, 20_000)
_numbers = itertools.count()


def unused_addresses(count: int) -> list[str]:
    """Addresses that no other test uses."""
    number = next(_numbers)
    return [f"test-{os.getpid()}-{number}:{1000 + rank}" for rank in range(count)]


def in_parallel(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Call `act(rank)` for all ranks at the same time; returns the results."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count), timeout=20))


def connected(addresses: list[str]) -> list[SharedMemory | None]:
    listeners = [listen(rank, addresses) for rank in range(len(addresses))]

    def connect(rank: int) -> SharedMemory | None:
        listener = listeners[rank]
        return listener and SharedMemory.connect(rank, listener, addresses)

    return in_parallel(len(addresses), connect)


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for missing workers only 0.3 s."""
    monkeypatch.setattr(shared_memory, "_CONNECT_SECONDS", 0.3)


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
def test_all_workers_have_the_same_sum(workers: int, dtype: str) -> None:
    group = connected(unused_addresses(workers))
    random = np.random.default_rng(workers)
    for size in (1, 7, 1000, 1, 20_000):
        values = (100 * random.normal(size=(workers, size))).astype(dtype)
        sums = in_parallel(workers, lambda rank, values=values: group[rank].sum(values[rank]))
        expected = values[0].copy()
        for value in values[1:]:
            expected += value
        for total in sums:
            assert total.dtype == dtype
            assert total.tobytes() == expected.tobytes()


def test_values_larger_than_a_slot_take_several_rounds() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, SLOT_BYTES // 8 + 1))
    group = connected(unused_addresses(2))
    for total in in_parallel(2, lambda rank: group[rank].sum(values[rank])):
        np.testing.assert_array_equal(total, values.sum(axis=0))


def test_a_fast_worker_does_not_overwrite_what_a_slow_one_reads() -> None:
    """The worker that is ahead writes its next values while the other still reads the previous ones."""
    rounds = 2000
    group = connected(unused_addresses(2))

    def run(rank: int) -> list[float]:
        return [float(group[rank].sum(np.full(64, n * (rank + 1.0)))[-1]) for n in range(rounds)]

    for sums in in_parallel(2, run):
        assert sums == [3.0 * n for n in range(rounds)]


def test_seconds_are_those_spent_in_sums() -> None:
    first, second = connected(unused_addresses(2))
    assert first is not None
    assert second is not None

    def add_up(rank: int) -> None:
        if rank:
            time.sleep(0.2)
        (first, second)[rank].sum(np.ones(3))

    in_parallel(2, add_up)
    assert first.seconds > 0.15, "the first worker waited"
    assert second.seconds < 0.15


def test_empty_values_take_no_round() -> None:
    group = connected(unused_addresses(2))
    assert [total.shape for total in in_parallel(2, lambda rank: group[rank].sum(np.zeros((0, 3))))] == [(0, 3)] * 2


def test_the_end_of_a_peer_is_noticed_and_classified_as_its_failure() -> None:
    one, other = connected(unused_addresses(2))
    assert one is not None
    assert other is not None
    for peer in other._peers:
        peer.socket.close()
    with pytest.raises(RuntimeError, match=f"{BROKEN_OFF}: ") as caught:
        one.sum(np.ones(3))
    assert classify(caught.value) is FailureKind.PEER


def test_a_worker_with_values_of_another_size_is_named() -> None:
    group = connected(unused_addresses(2))

    def run(rank: int) -> str:
        with pytest.raises(RuntimeError) as caught:
            group[rank].sum(np.ones(3 + rank))
        return str(caught.value)

    assert [text.startswith(f"{BROKEN_OFF}: worker:") for text in in_parallel(2, run)] == [True, True]


def test_a_stopped_process_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_CHECK_INTERVAL", CHECK_INTERVAL)
    monkeypatch.setattr(shared_memory, "process_state", lambda _: ("T", "1", "1"))
    one, _other = connected(unused_addresses(2))
    assert one is not None
    with pytest.raises(RuntimeError, match=f"{BROKEN_OFF}: worker:1 is stopped"):
        one.sum(np.ones(3))


@pytest.mark.parametrize("letter", ["S", "T"])
def test_a_slow_process_is_waited_for(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it is stopped at every check: its processor time grows."""
    ticks = itertools.count()
    monkeypatch.setattr(shared_memory, "_CHECK_INTERVAL", CHECK_INTERVAL)
    monkeypatch.setattr(shared_memory, "process_state", lambda _: (letter, str(next(ticks)), "1"))
    group = connected(unused_addresses(2))

    def run(rank: int) -> float:
        while rank == 1 and next(ticks) < 20:
            time.sleep(0.02)
        return float(group[rank].sum(np.ones(1))[0])

    assert in_parallel(2, run) == [2.0, 2.0]


def test_theprocess_state_is_the_kernels() -> None:
    state, user, system = shared_memory.process_state(os.getpid()) or ("", "", "")
    assert state in ("R", "S")
    assert int(user) + int(system) > 0
    assert shared_memory.process_state(2**22 + 1) is None


def test_workers_on_several_hosts_share_no_memory() -> None:
    assert listen(0, ["10.0.0.1:1000", "10.0.0.2:1000"]) is None
    assert listen(0, ["10.0.0.1:1000"]) is None


@pytest.mark.usefixtures("short_timeout")
def test_no_worker_shares_memory_if_another_process_holds_a_name() -> None:
    addresses = unused_addresses(3)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as foreign:
        foreign.bind(shared_memory._name(addresses[1]))
        foreign.listen()
        assert connected(addresses) == [None, None, None]


@pytest.mark.usefixtures("short_timeout")
def test_no_worker_shares_memory_if_one_is_in_another_network_namespace() -> None:
    """Even if the addresses name one host."""
    addresses = unused_addresses(2)
    listener = listen(0, addresses)
    assert listener is not None
    assert SharedMemory.connect(0, listener, addresses) is None


@pytest.mark.usefixtures("short_timeout")
def test_another_users_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = unused_addresses(2)
    monkeypatch.setattr(shared_memory, "peer_of", other_user)
    assert connected(addresses) == [None, None]


def other_user(connection: socket.socket) -> tuple[int, int]:
    process, user = peer_of(connection)
    return process, user + 1
