"""A session, which is one command with all its worker groups, on one host: its folder, processes and environment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path
from typing import TextIO

SESSION_MARK = "REGATTA_SESSION"
"""Environment variable that marks the processes of a session."""

_CREDENTIALS = struct.Struct("3i")

MAX_REQUEST = 180_000  # bytes; a unix socket's default send buffer is 208 KiB


LONGEST_OWN = 70
"""In characters: callbacks of jobs may make unix sockets in their temporary folder, whose paths may have 107."""

LONGEST_SOCKETS = 45
"""Of the folder for Ray's files: Ray appends 62 characters to make a socket's path, which may have 107."""

PACKAGES = Path(__file__).resolve().parents[1]
"""Folder of `workers`, `jobs` and `orchestrator`. It comes first on a replica's path, so that nothing shadows them."""


def zygote_address(session: str) -> str:
    """The abstract socket of the zygote of `session` on this host, for processes that see each other.

    It belongs to the network namespace, which containers of one pod share; their processes and files are not the same.
    Unlike a file it cannot be cleaned away from under a run, and while it is bound there is no second zygote.
    """
    spaces = "-".join(str(Path(f"/proc/self/ns/{kind}").stat().st_ino) for kind in ("pid", "mnt"))
    return f"\0regatta-{os.getuid()}-{session}-{spaces}"


def is_bound(address: str) -> bool:
    """Whether a process holds an abstract socket's address, listening or not. A connection would count as a client."""
    try:
        lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.endswith(f" @{address[1:]}") for line in lines)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process id and user of the process at the other end of a unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _group = _CREDENTIALS.unpack(credentials)
    return pid, user


def own_folder(longest: int) -> Path:
    """This user's folder for sockets and logs on this host, whose path has at most `longest` characters.

    It is in TMPDIR, or in /tmp where that is too long: batch systems set TMPDIR to paths of 60 characters and more.

    Raises:
        OSError: it belongs to another user, is open to others, or cannot be made.
    """
    own = Path(tempfile.gettempdir()) / f"regatta-{os.getuid()}"
    if len(str(own)) > longest:
        own = Path("/tmp") / own.name  # noqa: S108 - what is in it is checked below
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{own} is not a folder that only this user can read; remove it, or set TMPDIR to another folder")
    return own


def open_to_others(folder: Path) -> str | None:
    """Why another user could replace what lies in `folder`, as a clause; None if none could, but root.

    In a sticky folder, such as /tmp, users may replace only what is theirs.
    """
    found = folder.stat()
    if found.st_uid not in (0, os.getuid()):
        return f"{folder} belongs to another user (id {found.st_uid}), who could replace what is in it"
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        return f"other users may write in {folder} (mode {stat.S_IMODE(found.st_mode):04o}), and replace what is in it"
    return None


def session_directory(session: str) -> Path:
    """The folder for a session's logs and temporary files on this host, created if missing; see `own_folder`."""
    path = own_folder(LONGEST_OWN) / session
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def short_directory(session: str, longest: int) -> Path:
    """A folder for a session's sockets whose path has at most `longest` characters, created if missing.

    It is in the session's own if that is short enough; otherwise beside it, by a name that follows from the session's.
    """
    path = session_directory(session) / "ray"
    if len(str(path)) > longest:
        name = f"r{hashlib.sha256(session.encode()).hexdigest()[:8]}"
        path = own_folder(longest - len(name) - 1) / name
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def remove_directories(session: str, longest: int = LONGEST_SOCKETS) -> None:
    """Remove both folders of a session."""
    with contextlib.suppress(OSError):
        shutil.rmtree(short_directory(session, longest), ignore_errors=True)
        shutil.rmtree(session_directory(session), ignore_errors=True)


def python_environment() -> dict[str, str]:
    """This process' environment, with Regatta's packages first on Python's path, and Keras 3 on TensorFlow as Keras.

    docs/jobs.md has a table of the variables that a site may have set.
    """
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (str(PACKAGES), inherited) if part)
    return dict(os.environ) | {"PYTHONPATH": path, "KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"}


_log: list[TextIO] = []
"""Where a task's log is written to, whatever the job makes of `sys.stderr`; empty in other processes."""


def keep_log() -> None:
    """Have `log` write to what is this process' standard error now."""
    _log[:] = [sys.stderr]


def log(text: str) -> None:
    """Write a line to the task's log."""
    with contextlib.suppress(ValueError, OSError):  # the job has closed it
        print(text, file=_log[0] if _log else sys.stderr, flush=True)


def say(text: str) -> None:
    """Write a line to the task's log, marked as Regatta's."""
    log(f"regatta: {text}")
