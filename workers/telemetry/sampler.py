"""Samples a replica's process tree, host and GPUs every second, whatever NVML and the job are doing."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol

from workers.news import HostSample
from workers.telemetry.gpu import GpuReader, GpuReading
from workers.telemetry.host import HostReader, HostReading

REST_AFTER = 3.0
"""Seconds, intervals, or times that the last two `drain`s were apart, whatever is most: after so long without another
one nobody seems to want to know. A driver with 200 tasks asks every four seconds."""


class GpuSource(Protocol):
    """What reads GPUs: `GpuReader`, or a test's own."""

    def read(self, pids: Collection[int]) -> GpuReading: ...
    def close(self) -> None: ...


class HostSource(Protocol):
    """What reads the process tree and the host: `HostReader`, or a test's own."""

    def read(self, pid: int | None) -> HostReading: ...


class GpuWatch:
    """Asks a GpuSource in a thread of its own, because an NVML call can block for good on a sick driver.

    `read` waits no longer than `patience` seconds. A reading that comes late is handed out at the next
    `read`, so that a slow NVML (more than `patience` for all GPUs) still gives samples, one interval old. A
    thread that never comes back is a daemon and is left behind.
    """

    def __init__(self, source: GpuSource, *, blocked_after: float, patience: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._blocked_after = blocked_after
        self._patience = patience
        self._clock = clock
        self._questions: queue.SimpleQueue[Collection[int] | None] = queue.SimpleQueue()
        self._answered = threading.Event()
        self._answer = GpuReading()
        self._answered_at = 0.0
        self._asked: float | None = None
        self._thread: threading.Thread | None = None

    def read(self, pids: Collection[int]) -> GpuReading:
        """The GPUs now, or why they are not known. From one thread only."""
        asked = self._ask(pids) if self._asked is None else self._asked
        answered = self._answered.wait(self._patience)
        took = (self._answered_at if answered else self._clock()) - asked
        if answered:
            self._asked = None
        if took > self._blocked_after:  # even if it came back: its values may be as old as the question
            return GpuReading(notes=(f"GPU: NVML call blocked for more than {self._blocked_after:g} s",))
        return self._answer if answered else GpuReading(notes=("GPU: NVML has not answered yet",))

    def stop(self) -> None:
        """Ends the thread, which closes the source; a thread that is blocked is left behind."""
        self._questions.put(None)
        if self._thread is not None:
            self._thread.join(self._patience)

    def _ask(self, pids: Collection[int]) -> float:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="regatta-gpu", daemon=True)
            self._thread.start()
        self._answered.clear()
        self._asked = asked = self._clock()
        self._questions.put(pids)
        return asked

    def _run(self) -> None:
        while (pids := self._questions.get()) is not None:
            try:
                self._answer = self._source.read(pids)
            except Exception as error:  # noqa: BLE001 - telemetry must never take the training down
                self._answer = GpuReading(notes=(f"GPU: not available ({type(error).__name__}: {error})",))
            self._answered_at = self._clock()
            self._answered.set()
        self._source.close()


class Sampler:
    """Samples in a daemon thread between `start` and `stop`; `drain` hands out what it has.

    It rests while nobody asks, as in a group that waits for its turn: its looks would cost the group that trains
    processor time, and tell of no run.

    Args:
        pid: root of the replica's process tree now, or None while none is running.
        interval: seconds between samples. A late sample is not made up for.
        blocked_after: seconds without an answer after which an NVML call counts as blocked.
        patience: seconds that one sample waits for the GPUs; None for half an interval.
        host, gpu: what is read; None for this machine, and for the GPUs that the environment gives it.
        clock, sleep: for tests; `sleep` ends early when the sampler is stopped.
    """

    def __init__(
        self,
        pid: Callable[[], int | None],
        *,
        interval: float = 1.0,
        blocked_after: float = 5.0,
        patience: float | None = None,
        host: HostSource | None = None,
        gpu: GpuSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._pid = pid
        self._interval = interval
        self._host = HostReader(clock=clock) if host is None else host
        self._gpu = GpuWatch(
            GpuReader() if gpu is None else gpu,
            blocked_after=blocked_after,
            patience=interval / 2 if patience is None else patience,
            clock=clock,
        )
        self._clock = clock
        self._drained, self._apart = clock(), 0.0
        self._stopping = threading.Event()
        self._sleep = self._stopping.wait if sleep is None else sleep
        self._samples: deque[HostSample] = deque()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="regatta-sampler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the threads for good, soon, even with NVML blocked. The last samples can still be drained."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * self._interval)
        self._gpu.stop()

    def drain(self) -> tuple[HostSample, ...]:
        """The samples since the last drain, oldest first. From any thread."""
        now = self._clock()
        self._drained, self._apart = now, now - self._drained
        samples = []
        while self._samples:
            samples.append(self._samples.popleft())
        return tuple(samples)

    def sample(self) -> HostSample:
        """One sample now. Never raises."""
        try:
            reading = self._host.read(self._pid())
        except Exception as error:  # noqa: BLE001 - telemetry must never take the training down
            note = f"host: {type(error).__name__}: {error}"
            reading = HostReading(
                HostSample(time.time(), None, None, None, None, None, None, None, None, notes=(note,))
            )
        gpu = self._gpu.read(reading.pids)
        return replace(reading.sample, gpus=gpu.gpus, notes=reading.sample.notes + gpu.notes)

    def _run(self) -> None:
        due = self._clock()
        rested = False
        while not self._stopping.is_set():
            resting = self._clock() - self._drained > REST_AFTER * max(1.0, self._interval, self._apart)
            if not resting:
                sample = self.sample()
                if not rested:  # else its rates are those of the rest as well
                    self._samples.append(sample)
            rested = resting
            now = self._clock()
            due += self._interval
            if due <= now:  # suspended, or slow: go on from here
                due = now + self._interval
            self._sleep(due - now)
