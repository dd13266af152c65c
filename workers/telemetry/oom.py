"""Out-of-memory evidence: distinguishes a process that the kernel killed from one that was sent SIGKILL.

The kernel counts its out-of-memory kills, for the whole host (`oom_kill` in /proc/vmstat, proc_vmstat(5)) and for
every cgroup. A count that grew between the last reading and the process' end is the evidence. The last sample says
how much memory the process used.
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
"""Longest time from the kernel's decision, when it counts the kill, to the end of a process with much memory."""


@dataclass(frozen=True)
class Kill:
    """Explanation of a process' end by SIGKILL."""

    out_of_memory: bool
    summary: str
    hint: str


@dataclass(frozen=True)
class _Count:
    file: Path
    kills: int


class OomEvidence:
    """Reads the kernel's counts of out-of-memory kills while a process lives, and explains its end by SIGKILL."""

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
        """The process' memory cgroup; the kernel does not say which it was once the process has ended."""
        self._counts: list[tuple[float, _Count]] = []
        """The kernel's counts and when they were read: the last one older than `_LAG_SECONDS`, and all since."""
        self._rss: int | None = None
        self._limit: int | None = None

    def read(self, pid: int | None, samples: Iterable[HostSample] = ()) -> None:
        """Read the counts while the process lives.

        Frequent calls make it unlikely that another process' end in between is taken for evidence.
        """
        found = vitals(pid, self._proc)
        if found is not None and found.state in _DEAD:  # it has left its cgroup
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
        """Why the process was killed; None unless `code` is SIGKILL's (-9, or 137 from a shell)."""
        if code not in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return None
        now = self._count()
        before = next((count for _, count in self._counts if now is not None and count.file == now.file), None)
        used = "" if self._rss is None else f"; it used {self._rss / _GIB:.2f} GiB, shared pages included"
        if used and self._limit is not None:
            used += f", and the limit of its cgroup or host is {self._limit / _GIB:.1f} GiB"
        if now is not None and before is not None and now.kills > before.kills:
            return Kill(
                True,
                f"was killed by the kernel: out of memory{used}",
                "Lower --batch-size, run fewer tasks on that host (--placement spread), or give the host more memory.",
            )
        if now is not None and before is not None:
            hint = "The kernel counted no out-of-memory kill: another process sent the signal."
            return Kill(False, "was killed by SIGKILL", hint)
        hint = "Unless a process sent the signal, the host was out of memory: lower --batch-size or --workers."
        return Kill(False, f"was killed by SIGKILL{used}", hint)

    def _count(self) -> _Count | None:
        """Out-of-memory kills so far, in the process' cgroup or, if that has no count, on the host."""
        counters = [folder / name for folder in self._folders for name in ("memory.events", "memory.oom_control")]
        for file in (*counters, self._proc / "vmstat"):
            if (kills := _field(file, "oom_kill")) is not None:
                return _Count(file, kills)
        return None

    def _allowed(self) -> int | None:
        """Bytes that the process may use: its cgroup's limit or the host's memory, whichever is less."""
        limits = [
            _number(folder / name) for folder in self._folders for name in ("memory.max", "memory.limit_in_bytes")
        ]
        total = _field(self._proc / "meminfo", "MemTotal:")
        known = [limit for limit in limits if limit is not None and limit < _UNLIMITED]
        return min([*known, *([total * 1024] if total else [])], default=None)


def _folders(pid: int | None, proc: Path, cgroups: Path) -> list[Path]:
    """Folders of the process' memory cgroup, in version 1 and 2 of the hierarchy."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for line in (proc / str(pid or "self") / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                found.append(cgroups / controllers / path.lstrip("/"))
    return found


def _field(path: Path, name: str) -> int | None:
    """The number after `name` in a file whose lines are a name and a number."""
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
