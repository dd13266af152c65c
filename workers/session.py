"""A session, which is one command with all its worker groups, on one host: its folder, processes and environment."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

SESSION_MARK = "REGATTA_SESSION"
"""Environment variable that marks the processes of a session."""

MAX_REQUEST = 180_000  # bytes; a unix socket's default send buffer is 208 KiB


_LONGEST_PARENT = 50
"""In characters. A unix socket's path may have 107, which include our folder's and the session's name."""

PACKAGES = Path(__file__).resolve().parents[1]
"""Folder of `workers`, `jobs` and `orchestrator`. It comes first on a replica's path, so that nothing shadows them."""


def session_directory(session: str) -> Path:
    """The folder for a session's sockets and logs on this host, created if missing; only its owner can read it.

    Raises:
        OSError: its parent exists and belongs to another user, or is open to others.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")  # noqa: S108 - what is in it is checked below
    own = parent / f"regatta-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{own} is not a folder that only this user can read; remove it, or set TMPDIR to another folder")
    path = own / session
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def python_environment() -> dict[str, str]:
    """This process' environment, with Regatta's packages first on Python's path, and Keras 3 on TensorFlow as Keras.

    docs/jobs.md has a table of the variables that a site may have set.
    """
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (str(PACKAGES), inherited) if part)
    return dict(os.environ) | {"PYTHONPATH": path, "KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"}


def say(text: str) -> None:
    """Write a line to the task's log, marked as Regatta's."""
    print(f"regatta: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the task's log
