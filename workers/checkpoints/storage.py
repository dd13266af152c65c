"""Where checkpoints lie: a folder of this host's file system, or a place that `pyarrow.fs` reaches.

Both promise the same: a checkpoint is there as a whole or not at all. A local one is written under a temporary name,
flushed to the disk with its folder, and renamed. An object store has no renaming, and there the manifest, written
last, is what makes a checkpoint one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol, TypeVar

from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.manifest import MANIFEST

FENCE = "attempt.json"
_NAME = re.compile(r"(\d{10,19})-(\d{1,9})(-best)?")
_LOCK = ".lock"
_Written = TypeVar("_Written")


class Name(NamedTuple):
    """Of a checkpoint's folder; names sort as checkpoints were written."""

    attempt: int
    step: int
    best: bool = False
    """The best state that was scored, kept for its weights: only the others are gone on from."""

    def __str__(self) -> str:
        return f"{self.step:010d}-{self.attempt}{'-best' if self.best else ''}"


def parsed_name(folder: str) -> Name | None:
    """None for a folder that is no checkpoint's."""
    match = _NAME.fullmatch(folder)
    return None if match is None else Name(int(match[2]), int(match[1]), match[3] is not None)


class Draft(Protocol):
    """A checkpoint that is being written."""

    def write(self, name: str, write: Callable[[IO[bytes]], _Written]) -> _Written: ...

    def finish(self, manifest: bytes, check: Callable[[], None]) -> None:
        """Make it a checkpoint, unless `check`, which is called at the last moment, raises."""


class Storage(Protocol):
    """Every method raises OSError where the file system does."""

    url: str
    """As a person is told."""

    def names(self) -> list[str]:
        """Folders of checkpoints, in the order in which they were written: by attempt, then by step."""

    def read(self, name: str, limit: int) -> bytes | None:
        """A file's content; None if there is none. Raises CheckpointError when it has more than `limit` bytes."""

    def put(self, name: str, data: bytes) -> None:
        """Replace a small file."""

    def draft(self, name: str) -> contextlib.AbstractContextManager[Draft]:
        """A new checkpoint; nothing of it stays when the block is left before it is finished."""

    def remove(self, name: str) -> None:
        """Take a checkpoint away; from its first moment on it is none any more."""

    def clean(self) -> None:
        """Take away what unfinished writing has left. Only for the one that may write."""

    def free_bytes(self) -> int | None:
        """Room that is left; None where nobody can tell."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else on this file system is inside of such a block; a remote place has no locks."""


class LocalStorage:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return in_order(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))

    def read(self, name: str, limit: int) -> bytes | None:
        try:
            with (self.root / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size  # a limit may be any number that a manifest tells
                data = file.read(min(limit, size) + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(data) > limit:
            raise CheckpointError(f"{self.root / name} is larger than the {limit} bytes that it may have")
        return data

    def put(self, name: str, data: bytes) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f".{name}.{os.getpid()}"
        try:
            _write(temporary, lambda file: file.write(data))
            temporary.replace(self.root / name)
            _flush_folder(self.root)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f".{name}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield _LocalDraft(self, temporary, name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def remove(self, name: str) -> None:
        gone = self.root / f".{name}.{os.getpid()}.gone"
        with contextlib.suppress(FileNotFoundError):
            (self.root / name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

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
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / _LOCK).open("wb") as file:
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
        _flush_folder(self._temporary)
        with self._storage.locked():
            check()
            self._storage.remove(self._name)  # the same step of the same attempt, written before
            self._temporary.rename(self._storage.root / self._name)
        _flush_folder(self._storage.root)


def in_order(names: Iterator[str]) -> list[str]:
    found = [(parsed, name) for name in names if (parsed := parsed_name(name)) is not None]
    return [name for _, name in sorted(found)]


def _write(path: Path, write: Callable[[IO[bytes]], _Written]) -> _Written:
    with path.open("wb") as file:
        written = write(file)
        file.flush()
        os.fsync(file.fileno())
    return written


def _flush_folder(path: Path) -> None:
    """A rename is safe from a power failure once its folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
