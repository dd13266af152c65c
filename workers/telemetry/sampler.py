"""Sampling of a replica's process tree, host and GPUs every second, even if NVML blocks."""

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
"""Sampling pauses after this many seconds, intervals, or times between the last two `drain`s, whichever is longest,
without a `drain`. A driver with 200 tasks drains every four seconds."""


class GpuSource(Protocol):
    """Interface of `GpuReader`."""

    def read(self, pids: Collection[int]) -> GpuReading: ...
    def close(self) -> None: ...


class HostSource(Protocol):
    """Interface of `HostReader`."""

    def read(self, pid: int | None) -> HostReading: ...


class GpuWatch:
    """Reads a GpuSource in a thread of its own, because an NVML call can block forever on a broken driver.

    `read` waits no longer than `timeout` seconds. A late reading is returned by the next `read`, so that a slow
    NVML (more than `timeout` for all GPUs) still gives samples, one interval old. The thread is a daemon, so
    that one that never returns can be abandoned.
    """

    def __init__(self, source: GpuSource, *, blocked_after: float, timeout: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._blocked_after = blocked_after
        self._timeout = timeout
        self._clock = clock
        self._questions: queue.SimpleQueue[Collection[int] | None] = queue.SimpleQueue()
        self._answered = threading.Event()
        self._answer = GpuReading()
        self._answered_at = 0.0
        self._asked: float | None = None
        self._thread: threading.Thread | None = None

    def read(self, pids: Collection[int]) -> GpuReading:
        """The GPUs now, or why they are not known. Not thread-safe."""
        asked = self._ask(pids) if self._asked is None else self._asked
        answered = self._answered.wait(self._timeout)
        took = (self._answered_at if answered else self._clock()) - asked
        if answered:
            self._asked = None
        if took > self._blocked_after:  # even if it has returned by now: its values may be as old as the request
            return GpuReading(notes=(f"GPU: NVML call blocked for more than {self._blocked_after:g} s",))
        return self._answer if answered else GpuReading(notes=("GPU: NVML has not answered yet",))

    def stop(self) -> None:
        """End the thread, which closes the source; a blocked thread is abandoned."""
        self._questions.put(None)
        if self._thread is not None:
            self._thread.join(self._timeout)

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
    """Samples in a daemon thread between `start` and `stop`; `drain` returns the samples.

    Sampling pauses while the driver does not drain, as in a worker group that waits for its turn: the samples
    would belong to no run, and cost the group that trains processor time.

    Args:
        pid: root of the replica's process tree now, or None while none is running.
        interval: seconds between samples. Missed samples are not made up for.
        blocked_after: seconds without an answer after which an NVML call counts as blocked.
        gpu_timeout: seconds that one sample waits for the GPUs; None for half an interval.
        host, gpu: the sources; None for this machine, and for the GPUs that the environment gives it.
        clock, sleep: injected by tests; `sleep` ends early when the sampler is stopped.
    """

    def __init__(
        self,
        pid: Callable[[], int | None],
        *,
        interval: float = 1.0,
        blocked_after: float = 5.0,
        gpu_timeout: float | None = None,
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
            timeout=interval / 2 if gpu_timeout is None else gpu_timeout,
            clock=clock,
        )
        self._clock = clock
        self._drained_at, self._drain_interval = clock(), 0.0
        self._stopping = threading.Event()
        self._sleep = self._stopping.wait if sleep is None else sleep
        self._samples: deque[HostSample] = deque()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="regatta-sampler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the threads, without waiting for a blocked NVML. The last samples can still be drained."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * self._interval)
        self._gpu.stop()

    def drain(self) -> tuple[HostSample, ...]:
        """The samples since the last drain, oldest first. Thread-safe."""
        now = self._clock()
        self._drained_at, self._drain_interval = now, now - self._drained_at
        samples = []
        while self._samples:
            samples.append(self._samples.popleft())
        return tuple(samples)

    def sample(self) -> HostSample:
        """A sample taken now. Never raises."""
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
        was_paused = False
        while not self._stopping.is_set():
            longest = max(1.0, self._interval, self._drain_interval)
            paused = self._clock() - self._drained_at > REST_AFTER * longest
            if not paused:
                sample = self.sample()
                if not was_paused:  # the rates of the first sample after a pause cover the pause
                    self._samples.append(sample)
            was_paused = paused
            now = self._clock()
            due += self._interval
            if due <= now:  # the machine was suspended, or is slow: continue from now
                due = now + self._interval
            self._sleep(due - now)
