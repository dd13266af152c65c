"""Workers of one host add up over shared memory: here each is a thread."""

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

pytestmark = pytest.mark.unit

LOOK = struct.pack("ll", 0, 20_000)
_numbers = itertools.count()


def made_up(count: int) -> list[str]:
    """Addresses that no other test has."""
    number = next(_numbers)
    return [f"test-{os.getpid()}-{number}:{1000 + rank}" for rank in range(count)]


def everybody(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act(rank)` returns, for all ranks at once."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count), timeout=20))


def met(addresses: list[str]) -> list[SharedMemory | None]:
    listeners = [listen(rank, addresses) for rank in range(len(addresses))]

    def meet(rank: int) -> SharedMemory | None:
        listener = listeners[rank]
        return listener and SharedMemory.meet(rank, listener, addresses)

    return everybody(len(addresses), meet)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not there is not waited for."""
    monkeypatch.setattr(shared_memory, "_MEETING_SECONDS", 0.3)


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
def test_all_have_the_same_sum(workers: int, dtype: str) -> None:
    group = met(made_up(workers))
    random = np.random.default_rng(workers)
    for size in (1, 7, 1000, 1, 20_000):
        values = (100 * random.normal(size=(workers, size))).astype(dtype)
        sums = everybody(workers, lambda rank, values=values: group[rank].sum(values[rank]))
        expected = values[0].copy()
        for value in values[1:]:
            expected += value
        for total in sums:
            assert total.dtype == dtype
            assert total.tobytes() == expected.tobytes()


def test_what_is_larger_than_a_slot_takes_several_rounds() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, SLOT_BYTES // 8 + 1))
    group = met(made_up(2))
    for total in everybody(2, lambda rank: group[rank].sum(values[rank])):
        np.testing.assert_array_equal(total, values.sum(axis=0))


def test_nothing_is_overtaken() -> None:
    """The one that is ahead writes its next values while the other still reads the ones before."""
    rounds = 2000
    group = met(made_up(2))

    def run(rank: int) -> list[float]:
        return [float(group[rank].sum(np.full(64, n * (rank + 1.0)))[-1]) for n in range(rounds)]

    for sums in everybody(2, run):
        assert sums == [3.0 * n for n in range(rounds)]


def test_seconds_are_those_in_sums() -> None:
    first, second = met(made_up(2))
    assert first is not None
    assert second is not None

    def add_up(rank: int) -> None:
        if rank:
            time.sleep(0.2)
        (first, second)[rank].sum(np.ones(3))

    everybody(2, add_up)
    assert first.seconds > 0.15, "it waited"
    assert second.seconds < 0.15


def test_no_values_are_no_round() -> None:
    group = met(made_up(2))
    assert [total.shape for total in everybody(2, lambda rank: group[rank].sum(np.zeros((0, 3))))] == [(0, 3)] * 2


def test_the_end_of_another_is_noticed_and_is_no_fault_of_this_one() -> None:
    one, other = met(made_up(2))
    assert one is not None
    assert other is not None
    for peer in other._peers:
        peer.socket.close()
    with pytest.raises(RuntimeError, match=f"{BROKEN_OFF}: ") as caught:
        one.sum(np.ones(3))
    assert classify(caught.value) is FailureKind.PEER


def test_who_brings_values_of_another_size_is_named() -> None:
    group = met(made_up(2))

    def run(rank: int) -> str:
        with pytest.raises(RuntimeError) as caught:
            group[rank].sum(np.ones(3 + rank))
        return str(caught.value)

    assert [text.startswith(f"{BROKEN_OFF}: worker:") for text in everybody(2, run)] == [True, True]


def test_a_stopped_process_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_LOOK", LOOK)
    monkeypatch.setattr(shared_memory, "_sign_of_life", lambda _: ("T", "1", "1"))
    one, _other = met(made_up(2))
    assert one is not None
    with pytest.raises(RuntimeError, match=f"{BROKEN_OFF}: worker:1 is stopped"):
        one.sum(np.ones(3))


@pytest.mark.parametrize("letter", ["S", "T"])
def test_a_slow_process_is_waited_for(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be stopped whenever it is looked at: its processor time grows."""
    ticks = itertools.count()
    monkeypatch.setattr(shared_memory, "_LOOK", LOOK)
    monkeypatch.setattr(shared_memory, "_sign_of_life", lambda _: (letter, str(next(ticks)), "1"))
    group = met(made_up(2))

    def run(rank: int) -> float:
        while rank == 1 and next(ticks) < 20:
            time.sleep(0.02)
        return float(group[rank].sum(np.ones(1))[0])

    assert everybody(2, run) == [2.0, 2.0]


def test_the_sign_of_life_is_that_of_the_process() -> None:
    state, user, system = shared_memory._sign_of_life(os.getpid()) or ("", "", "")
    assert state in ("R", "S")
    assert int(user) + int(system) > 0
    assert shared_memory._sign_of_life(2**22 + 1) is None


def test_workers_on_several_hosts_are_no_neighbours() -> None:
    assert listen(0, ["10.0.0.1:1000", "10.0.0.2:1000"]) is None
    assert listen(0, ["10.0.0.1:1000"]) is None


@pytest.mark.usefixtures("soon")
def test_somebody_elses_name_makes_nobody_a_neighbour() -> None:
    addresses = made_up(3)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as foreign:
        foreign.bind(shared_memory._name(addresses[1]))
        foreign.listen()
        assert met(addresses) == [None, None, None]


@pytest.mark.usefixtures("soon")
def test_a_worker_elsewhere_makes_nobody_a_neighbour() -> None:
    """The addresses say one host; but one of them is in another network name space."""
    addresses = made_up(2)
    listener = listen(0, addresses)
    assert listener is not None
    assert SharedMemory.meet(0, listener, addresses) is None


@pytest.mark.usefixtures("soon")
def test_another_user_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = made_up(2)
    monkeypatch.setattr(shared_memory, "_CREDENTIALS", SomebodyElses())
    assert met(addresses) == [None, None]


class SomebodyElses:
    size = shared_memory._CREDENTIALS.size

    def unpack(self, received: bytes) -> tuple[int, int, int]:
        process, user, group = struct.unpack("3i", received)
        return process, user + 1, group
