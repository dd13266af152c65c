"""Resource usage of one replica's process tree and of its host, read through psutil.

Source: https://psutil.readthedocs.io. Rates are differences between two readings divided by the time between
them, so the first reading has none; if a reading fails, the next rate is an average over a longer time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from workers.news import HostSample
from workers.telemetry.descendants import descendants, newest_pid
from workers.telemetry.readings import NotMeasured, Readings


@dataclass(frozen=True)
class ProcessUsage:
    """Usage of one process at one time."""

    created: float
    """Seconds since the epoch; distinguishes a process from a later one with the same pid."""
    parent: int
    """Pid of the parent."""
    own: float
    """CPU seconds, user and system, of the process itself."""
    reaped: float
    """CPU seconds of the descendants it has waited for; always 0 if the system does not report them (macOS)."""
    rss: int
    """Resident bytes. Pages shared between processes count in each of them."""


Tree = Mapping[int, ProcessUsage]
"""A process tree at one time, by pid."""


@dataclass(frozen=True)
class HostReading:
    sample: HostSample
    pids: frozenset[int] = field(default_factory=frozenset)
    """Pids of the process tree, so that GPU memory can be attributed to it; empty if there is none."""


def cpu_seconds_between(before: Tree, after: Tree) -> float:
    """CPU seconds that a process tree used between two readings, short-lived children included.

    The counter of a child disappears when it ends, but the parent that waits for it inherits its time. So the
    inherited time counts, less the time that the earlier reading had of the processes that ended. If no process
    of the tree waits for a child, the time it used since the earlier reading is lost.
    """

    def survives(pid: int) -> bool:
        return pid in after and after[pid].created == before[pid].created

    counted_before: defaultdict[int, float] = defaultdict(float)
    for pid, usage in before.items():
        if survives(pid):
            continue
        heir = usage.parent
        for _ in before:  # at most as many generations as processes
            if heir not in before or survives(heir):
                break
            heir = before[heir].parent
        counted_before[heir] += usage.own + usage.reaped

    seconds = 0.0
    for pid, usage in after.items():
        known = before[pid] if pid in before and survives(pid) else None
        seconds += usage.own - (known.own if known else 0.0)
        inherited = usage.reaped - (known.reaped if known else 0.0)
        seconds += max(0.0, inherited - counted_before[pid])
    return max(0.0, seconds)


class HostReader:
    """Reads one sample per `read`. Keeps the counters of the previous reading; not thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._counters: dict[str, tuple[float, tuple[float, ...]]] = {}
        self._disks: dict[str, bool] = {}
        self._newest: int | None = None
        """`newest_pid` when the descendants were last listed."""
        self._root: tuple[int, float] | None = None
        self._tree: tuple[float, Tree] | None = None

    def read(self, pid: int | None) -> HostReading:
        """One sample of the process tree under `pid` and of the host. `gpus` is left empty.

        `pid` may change between readings (a restarted replica) or be None (none is running).
        """
        readings = Readings(_explain)
        started = self._wall()
        tree = readings.read("process", lambda: self._read_tree(pid))
        if tree is None:
            self._root = self._tree = None
        cpu = None if tree is None else readings.read("process cpu", lambda: self._tree_cpu(tree))
        net = readings.read("network", self._network)
        disk = readings.read("disk", self._disk)
        sample = HostSample(
            time=started,
            cpu_percent=cpu,
            rss_bytes=None if tree is None else sum(usage.rss for usage in tree.values()),
            host_cpu_percent=readings.read("host cpu", self._host_cpu),
            host_memory_percent=readings.read("host memory", lambda: float(psutil.virtual_memory().percent)),
            net_sent_per_s=net and net[0],
            net_received_per_s=net and net[1],
            disk_read_per_s=disk and disk[0],
            disk_written_per_s=disk and disk[1],
            notes=tuple(readings.notes),
        )
        return HostReading(sample, frozenset(tree or ()))

    def _read_tree(self, pid: int | None) -> Tree:
        if pid is None:
            raise NotMeasured("none is running")
        root = psutil.Process(pid)
        if root.status() == psutil.STATUS_ZOMBIE:
            raise psutil.ZombieProcess(pid)
        if self._root != (identity := (pid, root.create_time())):
            self._root, self._tree = identity, None
        tree = {pid: _usage(root)}
        known = self._tree[1] if self._tree is not None else {}
        children = known.keys() - {pid}
        newest = newest_pid()
        if self._tree is None or newest is None or newest != self._newest:
            children |= descendants(pid)  # with the known ones: the kernel may omit one while it changes a list
            self._newest = newest
        for child in children:
            try:
                usage = _usage(psutil.Process(child))
            except psutil.NoSuchProcess:
                continue  # it has ended since, and its parent inherits its time
            if child not in known or known[child].created == usage.created:
                tree[child] = usage
        return tree

    def _tree_cpu(self, tree: Tree) -> float:
        """CPU usage in percent of one core."""
        now = self._clock()
        before, self._tree = self._tree, (now, tree)
        if before is None:
            raise NotMeasured("first sample")
        return 100.0 * cpu_seconds_between(before[1], tree) / _elapsed(before[0], now)

    def _host_cpu(self) -> float:
        """CPU usage in percent of all cores. Waiting for a disk is idle time, guest time counts once (as in psutil)."""
        times = psutil.cpu_times()._asdict()
        guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)
        idle = times["idle"] + times.get("iowait", 0.0)
        _, (total, idle) = self._grown("host cpu", (sum(times.values()) - guests, idle))
        if total <= 0:
            raise NotMeasured("the counters did not change")
        return min(100.0, max(0.0, 100.0 * (total - idle) / total))

    def _network(self) -> tuple[float, float]:
        """Bytes/s that the host sends and receives, including loopback, which replicas on one host use."""
        count = psutil.net_io_counters()
        if count is None:
            raise NotMeasured("no network interface")
        return self._rates("network", (count.bytes_sent, count.bytes_recv))

    def _disk(self) -> tuple[float, float]:
        """Bytes/s read from and written to the host's disks."""
        disks = psutil.disk_io_counters(perdisk=True)
        real = [count for name, count in disks.items() if self._is_disk(name)]
        total = psutil.disk_io_counters() if not real else None
        if total is not None:
            real = [total]
        if not real:
            raise NotMeasured("no disk")
        return self._rates("disk", (sum(c.read_bytes for c in real), sum(c.write_bytes for c in real)))

    def _is_disk(self, name: str) -> bool:
        """Whether it is a real disk: a volume (LVM, RAID, loop) repeats its disk's counts, and has no `device`."""
        if name not in self._disks:  # once per name: a dozen file system calls take a seventh of a reading
            self._disks[name] = Path("/sys/block", name, "device").exists()
        return self._disks[name]

    def _rates(self, name: str, values: tuple[float, float]) -> tuple[float, float]:
        seconds, (first, second) = self._grown(name, values)
        if first < 0 or second < 0:
            raise NotMeasured("a counter went backwards")  # an interface or a disk went away
        return first / seconds, second / seconds

    def _grown(self, name: str, values: tuple[float, float]) -> tuple[float, tuple[float, float]]:
        """Seconds since the previous reading, and the growth of each counter."""
        now = self._clock()
        before = self._counters.get(name)
        self._counters[name] = (now, values)
        if before is None:
            raise NotMeasured("first sample")
        return _elapsed(before[0], now), (values[0] - before[1][0], values[1] - before[1][1])


def _usage(process: psutil.Process) -> ProcessUsage:
    with process.oneshot():
        times = process.cpu_times()
        return ProcessUsage(
            created=process.create_time(),
            parent=process.ppid(),
            own=times.user + times.system,
            reaped=times.children_user + times.children_system,
            rss=process.memory_info().rss,
        )


def _elapsed(before: float, now: float) -> float:
    if now <= before:
        raise NotMeasured("no time has passed since the last sample")
    return now - before


def _explain(error: Exception) -> str:
    if isinstance(error, psutil.ZombieProcess):
        return f"{error.pid} has ended (not yet waited for)"
    if isinstance(error, psutil.NoSuchProcess):
        return f"{error.pid} has ended"
    if isinstance(error, psutil.AccessDenied):
        return f"no permission to read {error.pid}"
    return f"{type(error).__name__}: {error}"
