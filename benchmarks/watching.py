"""Watchers of a Regatta run that pin its tasks to cores, and measure memory and the driver's load.

They implement the same `Watcher` as the terminal's view; Regatta has no code for them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from orchestrator.control.coordinator import Tick
from orchestrator.runs.watcher import NullWatcher, Watcher
from orchestrator.spec.run import RunSpec
from workers.news import StepBatch

MEMORY_SECONDS = 0.5
"""Seconds between two measurements: reading `smaps_rollup` walks all pages of a process."""


class Several(NullWatcher):
    """Calls several watchers in order."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None:
        for watcher in self._watchers:
            watcher.run_begins(spec, run_id, path)

    def launching(self, tick: Tick) -> None:
        for watcher in self._watchers:
            watcher.launching(tick)

    def training(self, tick: Tick) -> None:
        for watcher in self._watchers:
            watcher.training(tick)


class Beginning(NullWatcher):
    """Notes when the run began: the session is open, and the launch of its tasks follows."""

    at = 0.0

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None:
        self.at = time.monotonic()


class Pinning(NullWatcher):
    """Pins all threads of `worker:i` to `cores[i]` as soon as its process is known."""

    def __init__(self, cores: Sequence[int]) -> None:
        self._cores = cores

    def launching(self, tick: Tick) -> None:
        for status in tick.statuses:
            if status.pid is not None and status.task.type == "worker":
                pin(status.pid, self._cores[status.task.index % len(self._cores)])

    training = launching  # pins threads that were started since


def pin(pid: int, core: int) -> None:
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):  # the thread has ended
            os.sched_setaffinity(int(thread.name), {core})


class MemoryPeaks(NullWatcher):
    """Records the largest PSS and RSS of every task, in bytes."""

    def __init__(self) -> None:
        self.pss: dict[str, int] = {}
        self.rss: dict[str, int] = {}
        self._next = 0.0

    def launching(self, tick: Tick) -> None:
        if time.monotonic() < self._next:
            return
        for status in tick.statuses:
            task = str(status.task)
            with contextlib.suppress(OSError, KeyError):
                memory = rollup(status.pid)
                self.pss[task] = max(self.pss.get(task, 0), memory["Pss"])
                self.rss[task] = max(self.rss.get(task, 0), memory["Rss"])
        self._next = time.monotonic() + MEMORY_SECONDS

    training = launching


def rollup(pid: int | None) -> Mapping[str, int]:
    """Memory of a process in bytes by kind, summed over its mappings by the kernel."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    pairs = (line.split()[:2] for line in lines)
    return {name.rstrip(":"): int(kilobytes) << 10 for name, kilobytes in pairs}


class DriverLoad(NullWatcher):
    """Measures CPU seconds of the driver and all its supervisors, from the first to the last tick of training."""

    def __init__(self) -> None:
        self._supervisors: list[psutil.Process] = []
        self._first: tuple[float, float, float] | None = None
        self._last: tuple[float, float, float] | None = None
        self.replicas = 0

    def training(self, tick: Tick) -> None:
        if not any(isinstance(news, StepBatch) for status in tick.statuses for news in status.news):
            return
        if self._first is None:
            self.replicas = len(tick.statuses)
            children = psutil.Process().children(recursive=True)
            self._supervisors = [child for child in children if child.name().startswith("ray::")]
            self._first = self._now()
        self._last = self._now()

    @property
    def percent_per_replica(self) -> tuple[float, float] | None:
        """CPU use per replica, in percent of a core: the driver's, the supervisors'; None if training was too short."""
        if self._first is None or self._last is None or self._last[0] - self._first[0] < 1:
            return None
        wall, driver, supervisors = (b - a for a, b in zip(self._first, self._last, strict=True))
        return 100 * driver / wall / self.replicas, 100 * supervisors / wall / self.replicas

    def _now(self) -> tuple[float, float, float]:
        own = time.process_time()
        supervisors = sum(sum(process.cpu_times()[:2]) for process in self._supervisors)
        return time.monotonic(), own, supervisors
