"""Storage for checkpoints: a folder of this host's file system, or a location that `pyarrow.fs` supports.

Both give the same guarantee: a checkpoint exists completely or not at all. Local storage writes under a temporary
name, flushes the files and their folder to disk, and renames. Object stores cannot rename, so there the manifest is
written last, and a folder without one is not a checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol, TypeVar

from workers import files
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.manifest import MANIFEST

FENCE = "attempt.json"
_NAME = re.compile(r"(\d{10,19})-(\d{1,9})(-best)?")
_LOCK = ".lock"
_Written = TypeVar("_Written")


class Name(NamedTuple):
    """Name of a checkpoint's folder; names sort in the order in which checkpoints were written."""

    attempt: int
    step: int
    best: bool = False
    """True for the best state that was scored, which is kept for its weights; runs resume from the others only."""

    def __str__(self) -> str:
        return f"{self.step:010d}-{self.attempt}{'-best' if self.best else ''}"


def parsed_name(folder: str) -> Name | None:
    """Parse a folder's name; None if it is not a checkpoint's."""
    match = _NAME.fullmatch(folder)
    return None if match is None else Name(int(match[2]), int(match[1]), match[3] is not None)


class Draft(Protocol):
    """A checkpoint that is being written."""

    def write(self, name: str, write: Callable[[IO[bytes]], _Written]) -> _Written: ...

    def finish(self, manifest: bytes, check: Callable[[], None]) -> None:
        """Write the manifest and publish the checkpoint; `check` is called just before, and may raise to prevent it."""


class Storage(Protocol):
    """A folder of checkpoints. Errors of the file system are raised as OSError."""

    url: str
    """Location as shown to users, without credentials."""

    def names(self) -> list[str]:
        """Names of all checkpoints, in the order in which they were written: by attempt, then by step."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Read a file; None if it does not exist. Raises CheckpointError if it is larger than `limit` bytes."""

    def put(self, name: str, data: bytes) -> None:
        """Replace a small file."""

    def draft(self, name: str) -> contextlib.AbstractContextManager[Draft]:
        """Begin a new checkpoint; if the block exits before `finish`, everything written is removed."""

    def remove(self, name: str) -> None:
        """Delete a checkpoint; it stops counting as one before its files are deleted."""

    def clean(self) -> None:
        """Delete leftovers of interrupted writes. Only the attempt that may write may call this."""

    def free_bytes(self) -> int | None:
        """Free space; None if unknown."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock against other processes on this file system; remote storage has no locks."""


class LocalStorage:
    """A folder of a local or shared file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted_names(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            with files.open_regular(self.root / name) as file:
                size = os.fstat(file.fileno()).st_size  # `limit` may be any number that a manifest claims
                data = file.read(min(limit, size) + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(data) > limit:
            raise CheckpointError(f"{self.root / name} is larger than the {limit} bytes allowed")
        return data

    def put(self, name: str, data: bytes) -> None:
        files.make_folder(self.root)
        files.write_atomically(self.root / name, data)

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        files.make_folder(self.root)
        temporary = self.root / f".{name}.{secrets.token_hex(8)}"
        temporary.mkdir()
        try:
            yield _LocalDraft(self, temporary, name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def remove(self, name: str) -> None:
        doomed = self.root / f".{name}.{secrets.token_hex(8)}.gone"
        with contextlib.suppress(FileNotFoundError):
            (self.root / name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def clean(self) -> None:
        for entry in self.root.glob(".*-*"):
            if parsed_name(entry.name[1:].partition(".")[0]) is not None:
                shutil.rmtree(entry, ignore_errors=True)

    def free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self.root).free
        except OSError:
            return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        files.make_folder(self.root)
        with files.append(self.root / _LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class _LocalDraft:
    def __init__(self, storage: LocalStorage, temporary: Path, name: str) -> None:
        self._storage = storage
        self._temporary = temporary
        self._name = name

    def write(self, name: str, write: Callable[[IO[bytes]], _Written]) -> _Written:
        return _write(self._temporary / name, write)

    def finish(self, manifest: bytes, check: Callable[[], None]) -> None:
        _write(self._temporary / MANIFEST, lambda file: file.write(manifest))
        files.flush_folder(self._temporary)
        with self._storage.locked():
            check()
            self._storage.remove(self._name)  # an earlier checkpoint of the same step and attempt
            self._temporary.rename(self._storage.root / self._name)
        files.flush_folder(self._storage.root)


def sorted_names(names: Iterator[str]) -> list[str]:
    """The checkpoint names among `names`, in the order in which the checkpoints were written."""
    found = [(parsed, name) for name in names if (parsed := parsed_name(name)) is not None]
    return [name for _, name in sorted(found)]


def _write(path: Path, write: Callable[[IO[bytes]], _Written]) -> _Written:
    with files.create(path) as file:
        written = write(file)
        file.flush()
        os.fsync(file.fileno())
    return written
