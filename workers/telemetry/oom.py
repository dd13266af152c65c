"""Tells a process that the kernel killed for want of memory from one that somebody killed.

Both end with SIGKILL. The kernel counts its own kills, for the whole host (`oom_kill` in /proc/vmstat, proc_vmstat(5))
and for every cgroup; a count that grew between the last look and the process' end is the evidence. How much the
process used is known from its last sample.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from workers.news import HostSample
from workers.telemetry.vitals import vitals

_GIB = 1 << 30
_UNLIMITED = 1 << 60
_DEAD = ("Z", "X", "x")
_LAG_SECONDS = 3.0
"""The kernel counts a kill when it decides on it; a process with much memory needs a while to die."""


@dataclass(frozen=True)
class Kill:
    """How a process came to its end by SIGKILL."""

    for_memory: bool
    summary: str
    hint: str


@dataclass(frozen=True)
class _Count:
    file: Path
    kills: int


class MemoryWitness:
    """Looks at what the kernel counts while a process lives, and says why it was killed."""

    def __init__(
        self,
        proc: Path = Path("/proc"),
        cgroups: Path = Path("/sys/fs/cgroup"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._proc = proc
        self._cgroups = cgroups
        self._folders: list[Path] = []
        """Of the process' memory cgroup: they are told no more once it is dead."""
        self._counts: list[tuple[float, _Count]] = []
        """When the kernel's count was looked at, and what it was: from just before `_LAG_SECONDS` ago until now."""
        self._rss: int | None = None
        self._limit: int | None = None

    def look(self, pid: int | None, samples: Iterable[HostSample] = ()) -> None:
        """At the process while it lives: the less time lies between two looks, the less another's end can mislead."""
        seen = vitals(pid, self._proc)
        if seen is not None and seen.state in _DEAD:  # it has left its cgroup
            return
        self._folders = _folders(pid, self._proc, self._cgroups) or self._folders
        now, count = self._clock(), self._count()
        if count is not None:
            older = [index for index, (at, _) in enumerate(self._counts) if at <= now - _LAG_SECONDS]
            self._counts = [*self._counts[older[-1] if older else 0 :], (now, count)]
        self._limit = self._allowed()
        for sample in samples:
            self._rss = sample.rss_bytes or self._rss

    def explain(self, code: int | None) -> Kill | None:
        """None where the process was not killed, by its exit `code` (negative for a signal, or a shell's 137)."""
        if code not in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return None
        now = self._count()
        before = next((count for _, count in self._counts if now is not None and count.file == now.file), None)
        used = "" if self._rss is None else f"; it used {self._rss / _GIB:.2f} GiB, shared pages included"
        if used and self._limit is not None:
            used += f", and its cgroup or host has {self._limit / _GIB:.1f} GiB"
        if now is not None and before is not None and now.kills > before.kills:
            return Kill(
                True,
                f"was killed by the kernel for want of memory{used}",
                "Lower --batch-size, or the number of tasks on that host (--placement spread), or give it more memory.",
            )
        if now is not None and before is not None:
            return Kill(
                False, "was killed by SIGKILL", "The kernel counts no kill for want of memory: somebody sent it."
            )
        hint = "If nobody killed it, the kernel did, for want of memory: lower --batch-size or --workers."
        return Kill(False, f"was killed by SIGKILL{used}", hint)

    def _count(self) -> _Count | None:
        """Processes killed for want of memory so far: in the process' cgroup, or where it has none on the host."""
        counters = [folder / name for folder in self._folders for name in ("memory.events", "memory.oom_control")]
        for file in (*counters, self._proc / "vmstat"):
            if (kills := _field(file, "oom_kill")) is not None:
                return _Count(file, kills)
        return None

    def _allowed(self) -> int | None:
        """Bytes that the process may use: its cgroup's limit, or what the host has."""
        limits = [
            _number(folder / name) for folder in self._folders for name in ("memory.max", "memory.limit_in_bytes")
        ]
        total = _field(self._proc / "meminfo", "MemTotal:")
        known = [limit for limit in limits if limit is not None and limit < _UNLIMITED]
        return min([*known, *([total * 1024] if total else [])], default=None)


def _folders(pid: int | None, proc: Path, cgroups: Path) -> list[Path]:
    """Of the process' memory cgroup, in either version of the hierarchy."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for line in (proc / str(pid or "self") / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                found.append(cgroups / controllers / path.lstrip("/"))
    return found


def _field(path: Path, name: str) -> int | None:
    """The number that follows `name` in a file of lines of name and number."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == name:
                return int(rest.split()[0])
    return None


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None
