"""State and CPU time of a process, from one read of /proc: at 20 us cheap enough for every poll."""

from __future__ import annotations

import os
from pathlib import Path

from workers.news import Vitals

_TICKS = os.sysconf("SC_CLK_TCK")


def vitals(pid: int | None, proc: Path = Path("/proc")) -> Vitals | None:
    """The state of process `pid`; None if there is no such process or no Linux /proc. Source: proc_pid_stat(5)."""
    if pid is None:
        return None
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may contain spaces and brackets
    return Vitals(fields[0], (int(fields[11]) + int(fields[12])) / _TICKS)
