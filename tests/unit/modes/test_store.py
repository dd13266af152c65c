"""The state that processes of one host share: whole after every update, whoever dies in the middle of one."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from workers.modes.store import Layout, Store
from workers.modes.store_group import end_stopped_holders
from workers.modes.store_visits import Visits

pytestmark = pytest.mark.unit

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64), np.ones(5, np.float32), np.zeros(0)]


def layout(*arrays: np.ndarray) -> Layout:
    return Layout(tuple((array.dtype.name, array.shape) for array in arrays))


def in_child(act: Callable[[], None]) -> int:
    """Run `act` in a process of its own, which ends when it returns."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    return pid


def test_another_process_sees_what_was_written() -> None:
    store = Store.create(layout(*ARRAYS))
    pid = in_child(lambda: store.write([array + 1 for array in ARRAYS], 3))
    os.waitpid(pid, 0)
    assert (store.number, store.count) == (1, 3)
    for array, back in zip(ARRAYS, store.read(), strict=True):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array + 1)
    (second,) = store.read([1])
    assert second == 8


def test_no_update_is_lost_between_processes() -> None:
    store = Store.create(layout(np.zeros(1000, np.float32)))

    def add() -> None:
        for _ in range(200):
            with store.locked():
                store.write([array + 1 for array in store.read()], store.count + 1)

    for pid in [in_child(add) for _ in range(3)]:
        os.waitpid(pid, 0)
    assert store.count == 600
    assert set(store.read()[0]) == {600.0}


def test_a_process_that_is_killed_leaves_a_whole_state_and_no_lock() -> None:
    store = Store.create(layout(np.zeros(100_000, np.float32)))
    draw = random.Random(1)

    def add() -> None:
        while True:
            with store.locked():
                store.write([array + 1 for array in store.read()], store.count + 1)

    for _ in range(20):
        pid = in_child(add)
        time.sleep(draw.uniform(0.002, 0.02))
        os.kill(pid, signal.SIGKILL)
        with store.locked():  # given back by the kernel, at the latest when the process has ended
            (array,) = store.read()
            assert set(array) == {float(store.count)}
        os.waitpid(pid, 0)
    assert store.count > 0


def test_a_stopped_process_does_not_keep_the_lock() -> None:
    store = Store.create(layout(*ARRAYS))

    def stop_with_the_lock() -> None:
        store.lock()
        os.kill(os.getpid(), signal.SIGSTOP)

    pid = in_child(stop_with_the_lock)
    os.waitpid(pid, os.WUNTRACED)
    assert store.holder() == pid
    threading.Thread(target=end_stopped_holders, args=(store, 0.1), daemon=True).start()
    store.lock()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    store.unlock()
    assert store.holder() is None


def test_a_visit_takes_what_is_managed_adds_to_what_is_added_to_and_leaves_the_rest() -> None:
    state = [np.array([1.0, 2.0]), np.array([10.0]), np.array([5], np.uint32)]
    store = Store.create(layout(*state))
    store.write(state, 0)
    one, other = (Visits(store, ("managed", "own", "added")) for _ in range(2))
    assert one.catch_up() is not None
    assert other.catch_up() is not None

    stale, counter, weights = one.begin(np.array([6], np.uint32))  # it has drawn a random number
    assert (stale, counter.tolist(), weights.tolist()) == (0, [6], [1.0, 2.0])
    one.finish(weights + 1, np.array([11.0]), counter)

    stale, counter, weights = other.begin(np.array([6], np.uint32))
    assert (stale, counter.tolist(), weights.tolist()) == (1, [7], [2.0, 3.0])
    other.finish(weights * 2, np.array([12.0]), counter)

    assert [array.tolist() for array in store.read()] == [[4.0, 6.0], [12.0], [7]]
    assert [array.tolist() for array in other.counted()] == [[2], [0, 2]]
    assert other.catch_up() is None
    assert one.catch_up() is not None
    assert [array.tolist() for array in one.counted()] == [[], [2]]
