"""One command's session on one host: its folder, the mark of its processes, their environment and their logs."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

SESSION_MARK = "REGATTA_SESSION"
"""Environment variable that marks the processes of one invocation."""

MAX_REQUEST = 180_000  # bytes; a unix socket's default send buffer is 208 KiB


_LONGEST_PARENT = 50
"""A unix socket's path may have 107 characters, ours and the session's name included."""

PACKAGES = Path(__file__).resolve().parents[1]
"""Where `workers`, `jobs` and `orchestrator` lie: first on a replica's path, so that nothing shadows them."""


def session_directory(session: str) -> Path:
    """Sockets and logs of one invocation on this host; readable by its owner alone."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")  # noqa: S108 - what is in it is checked below
    ours = parent / f"regatta-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    found = ours.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{ours} is not a folder of this user's alone; remove it, or set TMPDIR to another place")
    path = ours / session
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def python_environment() -> dict[str, str]:
    """This process' environment, with our packages first on Python's path."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (str(PACKAGES), inherited) if part)
    return dict(os.environ) | {"PYTHONPATH": path}


def say(text: str) -> None:
    """Write a line of Regatta's own into the task's log, among those of TensorFlow and of the user's code."""
    print(f"regatta: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the task's log
