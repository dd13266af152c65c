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

pytestmark = pytest.mark.unit

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64), np.ones(5, np.float32), np.zeros(0)]


def in_child(act: Callable[[], None]) -> int:
    """Run `act` in a process of its own, which ends when it returns."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    return pid


def test_arrays_come_back_as_they_were() -> None:
    layout = Layout.of(ARRAYS)
    assert layout.dtypes == ("float32", "int64", "float64")
    for array, back in zip(ARRAYS, layout.split(layout.joined(ARRAYS)), strict=True):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)


def test_another_process_sees_what_was_written() -> None:
    layout = Layout.of(ARRAYS)
    store = Store.create(layout)
    pid = in_child(lambda: store.write(layout.joined([array + 1 for array in ARRAYS]), 3))
    os.waitpid(pid, 0)
    assert (store.number, store.count) == (1, 3)
    for array, back in zip(ARRAYS, layout.split(store.read()), strict=True):
        np.testing.assert_array_equal(back, array + 1)


def test_no_update_is_lost_between_processes() -> None:
    layout = Layout.of([np.zeros(1000, np.float32)])
    store = Store.create(layout)

    def add() -> None:
        for _ in range(200):
            with store.locked():
                store.write(tuple(flat + 1 for flat in store.read()), store.count + 1)

    for pid in [in_child(add) for _ in range(3)]:
        os.waitpid(pid, 0)
    assert store.count == 600
    assert set(store.read()[0]) == {600.0}


def test_a_process_that_is_killed_leaves_a_whole_state_and_no_lock() -> None:
    store = Store.create(Layout.of([np.zeros(100_000, np.float32)]))
    draw = random.Random(1)

    def add() -> None:
        while True:
            with store.locked():
                store.write(tuple(flat + 1 for flat in store.read()), store.count + 1)

    for _ in range(20):
        pid = in_child(add)
        time.sleep(draw.uniform(0.002, 0.02))
        os.kill(pid, signal.SIGKILL)
        with store.locked():  # given back by the kernel, at the latest when the process has ended
            (flat,) = store.read()
            assert set(flat) == {float(store.count)}
        os.waitpid(pid, 0)
    assert store.count > 0


def test_a_stopped_process_does_not_keep_the_lock() -> None:
    store = Store.create(Layout.of(ARRAYS))

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
