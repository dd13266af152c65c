"""The kernel's limit of processes and threads per user (`ulimit -u`), looked at before tasks are started here.

TensorFlow and Ray create their threads in C++, and end the process with SIGABRT where that fails.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from orchestrator.errors import UsageError

FEWEST_THREADS = 80
"""Threads of a task, at least: 107 to 116 were counted for each task of `digits` on two cores (TensorFlow 2.21)."""


def check_process_limit(tasks: int, proc: Path = Path("/proc")) -> None:
    """Make sure that this user may have the threads that so many tasks need on this host; root always may.

    Raises:
        UsageError: too few are left.
    """
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    needed = tasks * FEWEST_THREADS
    if os.geteuid() == 0 or limit == resource.RLIM_INFINITY:
        return
    if limit - (used := _threads(os.getuid(), proc)) < needed:
        raise UsageError(
            f"This user may have {limit} processes and threads on this host (`ulimit -u`), has {used}, and the "
            f"{tasks} tasks need at least {needed} more. Raise the limit, or use fewer tasks (--workers)."
        )


def _threads(uid: int, proc: Path) -> int:
    """How many processes and threads the user has, as far as they can be seen from here."""
    count = 0
    for entry in proc.glob("[0-9]*"):
        try:
            if entry.stat().st_uid == uid:
                count += sum(1 for _ in (entry / "task").iterdir())
        except OSError:  # it has ended
            continue
    return count
