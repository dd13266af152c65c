"""The workers of an asynchronous group on one host, as the chief has them: a thread and a line for each.

A thread sends its worker one message after another, and waits for the answers. If the worker is lost, what it was doing
is left to the others, and its thread waits for it to return.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from workers.errors import BROKEN_OFF
from workers.messages import Task
from workers.modes.store import Store
from workers.modes.store_link import Hello, Open, Refused, Shared, Traced, line
from workers.session import peer_of

_T = TypeVar("_T")
_CHECK_SECONDS = 0.5


class Lost(Exception):  # noqa: N818 - the worker's state, no error of the chief's
    """The worker's process has ended."""


class StoreWorkers:
    """Takes workers in as they arrive, and gives them work."""

    def __init__(self, listening: socket.socket, store: Store, count: int) -> None:
        self.answers: queue.SimpleQueue[Traced | Refused] = queue.SimpleQueue()
        """Of each worker, the first time it arrives: whether it can take steps."""
        self._store = store
        self._count = count
        self._open: Open | None = None
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._for_any: deque[Callable[[int], None]] = deque()
        self._for_each: list[deque[Callable[[int], None]]] = [deque() for _ in range(count)]
        self._arrivals: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(count)]
        self._lines: list[Any] = [None] * count
        self._listener = listening
        start("arrivals", self._accept)
        for worker in range(count):
            start(f"worker-{worker}", partial(self._drive, worker))

    def close(self) -> None:
        """Let the workers go: they wait as servers."""
        self._listener.close()
        for each in self._lines:
            if each is not None:
                each.close()

    def open(self, message: Open) -> None:
        """Have every worker open its data, those that return later as well; waits until all have."""
        self._open = message
        done: queue.SimpleQueue[int] = queue.SimpleQueue()

        def open_data(worker: int) -> None:
            self.ask(worker, message)
            done.put(worker)

        with self._changed:
            for own in self._for_each:
                own.append(open_data)
            self._changed.notify_all()
        missing = set(range(self._count))
        while missing:
            missing.discard(self.get(done))

    def schedule(self, function: Callable[[int], None]) -> None:
        """Call `function` with the next free worker, in that worker's thread; again if the worker is lost meanwhile."""
        with self._changed:
            self._for_any.append(function)
            self._changed.notify()

    def ask(self, worker: int, message: Any) -> Any:
        """Send `message` to `worker`, in its thread, and return its answer.

        Raises:
            Lost: its process has ended.
        """
        try:
            self._lines[worker].send(message)
            return self._lines[worker].recv()
        except (EOFError, OSError):
            raise Lost from None

    def get(self, source: queue.SimpleQueue[_T]) -> _T:
        """Wait for the next item of `source`; raises what a thread raised, instead of waiting forever."""
        while True:
            if not self._errors.empty():
                raise self._errors.get()
            with contextlib.suppress(queue.Empty):
                return source.get(timeout=_CHECK_SECONDS)

    def _accept(self) -> None:
        """Receive those that connect: workers, also when they return after a loss, and parameter servers."""
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            if peer_of(end)[1] != os.getuid():
                end.close()
                continue
            arrived = line(end)
            try:
                hello = arrived.recv()
            except (EOFError, OSError):
                continue
            match hello:
                case Hello(Task("worker", index)) if index < self._count:
                    self._arrivals[index].put(arrived)
                case Hello(task):
                    start(str(task), partial(self._watch, task, arrived))

    def _watch(self, server: Task, arrived: Any) -> None:
        """Have this process fail when a parameter server ends, as one does whose weights are there: the driver starts
        all tasks again, and what this one trained meanwhile would be reported to no one."""
        with contextlib.suppress(EOFError, OSError):
            arrived.recv()
        self._errors.put(RuntimeError(f"{BROKEN_OFF}: {server} ended"))

    def _drive(self, worker: int) -> None:
        """Give `worker` its work, in a thread of its own."""
        answered = False
        while True:
            try:
                answer = self._taken_in(worker)
                if not answered:
                    self.answers.put(answer)
                    answered = True
                while isinstance(answer, Traced):
                    self._work_for(worker)
                return
            except Lost:
                continue
            except BaseException as error:  # noqa: BLE001 - raised again by `get`, in the main thread
                self._errors.put(error)
                return

    def _taken_in(self, worker: int) -> Traced | Refused:
        """Wait for `worker` to arrive, and give it the memory, and the data of the leg that goes on."""
        self._lines[worker] = arrived = self._arrivals[worker].get()
        try:
            arrived.send(Shared(self._store.layout))
            with socket.socket(fileno=os.dup(arrived.fileno())) as end:
                end.settimeout(None)
                socket.send_fds(end, [b"m"], [self._store.descriptor])
            answer: Traced | Refused = arrived.recv()
        except (EOFError, OSError):
            raise Lost from None
        if self._open is not None:
            self.ask(worker, self._open)
        return answer

    def _work_for(self, worker: int) -> None:
        """Wait for the next thing to do with `worker`, and do it; leave it to others if the worker is lost."""
        own = self._for_each[worker]
        with self._changed:
            while not own and not self._for_any:
                self._changed.wait()
            source = own or self._for_any
            function = source.popleft()
        try:
            function(worker)
        except Lost:
            with self._changed:
                source.appendleft(function)
                self._changed.notify_all()
            raise


def start(name: str, target: Callable[[], None]) -> None:
    """Run `target` in a thread that ends with the process."""
    threading.Thread(target=target, name=f"regatta-{name}", daemon=True).start()
