"""The chief's threads and lines for workers of one host. Each worker is a thread here, at a real socket."""

from __future__ import annotations

import itertools
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.made import assignment
from workers.errors import BROKEN_OFF
from workers.messages import Assignment, Task
from workers.modes import store_link, store_workers
from workers.modes.store import Layout, Store
from workers.modes.store_link import Hello, Open, Opened, Run, Shared, Traced, can_share, connected, line, listener
from workers.modes.store_worker import serve
from workers.modes.store_workers import StoreWorkers
from workers.session import peer_of

pytestmark = pytest.mark.unit

WORKERS = 2
LAYOUT = Layout((("float32", (3,)),))
_numbers = itertools.count()


def group(hosts: tuple[str, ...] = ("h",), **fields: Any) -> Callable[[Task], Assignment]:
    """A function that makes the assignment of a task, in a cluster with addresses of its own."""
    name = f"{os.getpid()}-{next(_numbers)}"
    workers = [f"{hosts[index % len(hosts)]}{name}:{index}" for index in range(WORKERS)]
    cluster = {"chief": [f"{hosts[0]}{name}:8"], "ps": [f"{hosts[0]}{name}:9"], "worker": workers}
    return lambda task: assignment(task, {"cluster": cluster}, **{"mode": "async", **fields})


def chief(made: Callable[[Task], Assignment]) -> StoreWorkers:
    listening = listener(made(Task("chief", 0)))
    assert listening is not None
    store = Store.create(LAYOUT)
    store.write([np.arange(3, dtype=np.float32)], 5)
    return StoreWorkers(listening, store, WORKERS)


def worker(own: Assignment, answer: Callable[[Any], Any], seen: list[Any]) -> None:
    """A worker that puts what it receives, the memory's content first, into `seen`, and replies with `answer` of it;
    it ends when that raises EOFError."""
    end = connected(own)
    try:
        both = line(end.dup())
        both.send(Hello(own.task))
        shared: Shared = both.recv()
        _, (descriptor,), _, _ = socket.recv_fds(end, 1, 1)
        seen.append(Store(descriptor, shared.layout).read()[0].tolist())
        both.send(Traced(("loss",)))
        while True:
            received = both.recv()
            seen.append(received)
            both.send(answer(received))
    except (EOFError, OSError):
        end.shutdown(socket.SHUT_RDWR)


def begin(act: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=act, args=arguments, daemon=True).start()


def test_workers_are_taken_in_open_their_data_and_take_calls() -> None:
    made = group()
    workers, seen = chief(made), ([], [])
    for index in range(WORKERS):
        begin(worker, made(Task("worker", index)), lambda received: (Opened(), received), seen[index])
    assert [workers.get(workers.answers) for _ in range(WORKERS)] == [Traced(("loss",))] * 2
    workers.open(Open(seed=1, position=(), schedule_scale=1.0))
    done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    for steps in (3, 4, 5):
        workers.schedule(lambda index, steps=steps: done.put((index, workers.ask(index, Run(steps))[1])))
    assert sorted(workers.get(done)[1].steps for _ in range(3)) == [3, 4, 5]
    for each in seen:
        assert each[:2] == [[0.0, 1.0, 2.0], Open(1, (), 1.0)]
    workers.close()


def test_a_lost_workers_call_is_taken_by_another_and_it_is_given_the_data_when_it_returns() -> None:
    made = group()
    workers, seen = chief(made), []

    def dies(received: Any) -> Any:
        if isinstance(received, Run):
            raise EOFError
        return Opened()

    begin(worker, made(Task("worker", 0)), dies, [])
    begin(worker, made(Task("worker", 1)), lambda _: time.sleep(0.1), [])  # so that the other one is given some, too
    for _ in range(WORKERS):
        workers.get(workers.answers)
    message = Open(seed=1, position=(), schedule_scale=1.0)
    workers.open(message)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def call(index: int) -> None:
        workers.ask(index, Run(1))
        done.put(index)

    for _ in range(8):
        workers.schedule(call)
    assert {workers.get(done) for _ in range(8)} == {1}, "what worker:0 was doing is done by worker:1"
    begin(worker, made(Task("worker", 0)), lambda _: Opened(), seen)
    deadline = time.monotonic() + 20
    while seen[1:] != [message]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers.close()


def test_the_chief_ends_with_its_parameter_servers() -> None:
    made = group()
    workers = chief(made)
    end = connected(made(Task("ps", 0)))
    both = line(end.dup())
    both.send(Hello(Task("ps", 0)))
    end.shutdown(socket.SHUT_RDWR)
    with pytest.raises(RuntimeError, match=f"{BROKEN_OFF}: ps:0 ended"):
        workers.get(queue.SimpleQueue())
    workers.close()


def test_what_a_thread_raises_is_raised_by_get() -> None:
    made = group()
    workers = chief(made)
    for index in range(WORKERS):
        begin(worker, made(Task("worker", index)), lambda _: Opened(), [])
    workers.schedule(lambda index: [][index])
    with pytest.raises(IndexError):
        workers.get(queue.SimpleQueue())
    workers.close()


def test_another_users_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_user(connection: socket.socket) -> tuple[int, int]:
        process, user = peer_of(connection)
        return process, user + 1

    made = group()
    workers = chief(made)
    monkeypatch.setattr(store_workers, "peer_of", other_user)
    end = connected(made(Task("worker", 0)))
    assert end.recv(1) == b"", "the chief closes it"
    monkeypatch.setattr(store_link, "peer_of", other_user)
    tried: list[Any] = []
    begin(lambda: tried.append(connected(made(Task("worker", 1)))))
    time.sleep(0.3)
    assert tried == [], "a worker says nothing to it"
    workers.close()


@pytest.mark.parametrize(
    ("hosts", "fields", "shared"),
    [
        (("h",), {}, True),
        (("h",), {"mode": "ssp:2"}, True),
        (("h",), {"mode": "kasync:2"}, False),
        (("h",), {"gpus_per_worker": 1}, False),
        (("h", "i"), {}, False),
    ],
)
def test_where_the_state_can_be_in_memory(hosts: tuple[str, ...], fields: dict[str, Any], shared: bool) -> None:
    assert can_share(group(hosts, **fields)(Task("chief", 0))) == shared


def test_a_default_timeout_that_the_job_has_set_is_none_of_its_lines() -> None:
    made = group()
    socket.setdefaulttimeout(0.05)
    try:
        workers = chief(made)
        begin(worker, made(Task("worker", 0)), lambda _: Opened(), [])
        begin(worker, made(Task("worker", 1)), lambda _: Opened(), [])
        for _ in range(WORKERS):
            assert workers.get(workers.answers) == Traced(("loss",))
        time.sleep(0.2)
        workers.open(Open(seed=1, position=(), schedule_scale=1.0))
        workers.close()
    finally:
        socket.setdefaulttimeout(None)


def test_an_error_of_the_jobs_own_connections_is_not_taken_for_the_chiefs_end() -> None:
    made = group()
    workers = chief(made)

    def refused() -> Any:
        raise ConnectionRefusedError("the job's storage")

    with pytest.raises(ConnectionRefusedError):
        serve(made(Task("worker", 0)), refused)
    workers.close()


def test_a_worker_builds_nothing_before_the_chief_has_memory_for_it() -> None:
    made = group()
    listening = listener(made(Task("chief", 0)))
    assert listening is not None
    built: list[int] = []
    served = threading.Thread(target=serve, args=(made(Task("worker", 0)), lambda: built.append(1)), daemon=True)
    served.start()
    listening.accept()[0].close()  # as a chief does whose model is too large
    listening.close()
    served.join(20)
    assert (served.is_alive(), built) == (False, [])
