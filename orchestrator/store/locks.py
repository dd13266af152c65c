"""Which process may write the folder of a run: claims of folders that are about to be used, and drivers' locks."""

from __future__ import annotations

import atexit
import fcntl
import os
import platform
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import UsageError
from workers import files

CLAIM = ".claim"
_LOCK = "driver.lock"


def claim_directory(path: Path) -> Path:
    """Create the folder `path` for one run; if two commands claim it at once, one of them fails.

    A locked file marks the folder as taken until other files do: launching takes seconds. The kernel frees the lock of
    a command that was killed.

    Raises:
        UsageError: the folder is not empty, or cannot be written to.
    """
    claim = path / CLAIM
    try:
        files.make_folder(path)
        file = files.append(claim)
        if not _acquired(file, fcntl.LOCK_EX) or any(entry.name != CLAIM for entry in path.iterdir()):
            raise FileExistsError
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise UsageError(
            f"out: {path} cannot be written to ({error.strerror}). Choose a folder that you may write to, "
            "or change its permissions."
        ) from None
    atexit.register(partial(_end_claim, file, claim.absolute()))
    return path


def refuse_taken(path: Path) -> None:
    """Raises UsageError if `claim_directory` would, because something is in `path`; claims nothing."""
    with suppress(OSError, ValueError):
        if path.exists() and (not path.is_dir() or any(entry.name != CLAIM for entry in path.iterdir())):
            raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"out or run_id: {path} is taken: it is not empty, or not a folder. Give another, so that every run has a "
        "folder of its own, or remove this one first."
    )


def _end_claim(file: BinaryIO, path: Path) -> None:
    path.unlink(missing_ok=True)
    file.close()


def lock(path: Path) -> BinaryIO:
    """Lock the run in folder `path`; the kernel releases the lock when this process ends, however it ends.

    Raises:
        UsageError: another process holds the lock.
    """
    try:
        file = files.append(path / _LOCK)
    except OSError as error:
        raise UsageError(f"{path / _LOCK} cannot be opened: {error.strerror}. Remove it, if no driver runs.") from None
    if not _acquired(file, fcntl.LOCK_EX):
        file.seek(0)
        holder = "".join(filter(str.isprintable, file.read(300).decode(errors="replace")))
        file.close()
        raise UsageError(
            f"The driver of the run in {path} is still running ({holder or 'pid not known yet'}), and only one process "
            "may train a run. Stop it first with Ctrl-C, or with SIGTERM, upon which it writes a checkpoint."
        ) from None
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {platform.node()}".encode())
    file.flush()
    return file


def _acquired(file: BinaryIO, kind: int) -> bool:
    """Take the lock, and say whether that succeeded; a viewer that asks `is_driven` holds it for a moment."""
    for _ in range(5):
        with suppress(OSError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def is_driven(path: Path) -> bool | None:
    """Whether a driver on this host holds the lock of the run in folder `path`; None if that cannot be told."""
    try:
        with files.open_regular(path / _LOCK) as file:
            return not _acquired(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def check_not_driven(path: Path) -> None:
    """Raises UsageError, which names its pid, if the driver of the run in folder `path` is still running."""
    if (path / _LOCK).exists():
        lock(path).close()
