"""A folder above another one: what is written goes into the upper one, what is read may come from either."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_stat, _listdir = os.lstat, os.listdir  # before `jobs.scripts.folders` replaces them
TAKEN = frozenset({
    "charts", "checkpoints", "comparison.json", "driver.lock", "ended-fit.bin", "environment.json", "fits", "logs",
    "metrics.db", "metrics.db-shm", "metrics.db-wal", "model.keras", "plan.json", "report.html", "report.md",
    "result.json", "spec.yaml", "tensorboard",
})  # fmt: skip
"""Names of Regatta's own in a run's folder: a script's files of these names go to its subfolder `FILES`."""
FILES = "files"


class Place(NamedTuple):
    """Where a path is in the two folders."""

    inner: str
    """Relative to either."""
    own: str
    """In the upper one."""
    other: str
    """In the lower one."""
    as_written: bool
    """The path, as the script wrote it, is `own`."""


@dataclass
class Overlay:
    """The folder `here`, above the folder `home`. Both are absolute.

    Paths are relative to the working folder, which is `here`, or absolute and below either of the two. Others, and
    those with a hidden part (`.keras/models`), are left as they are.
    """

    home: str
    here: str
    is_off: bool = False
    """Paths are those of the file system for now."""
    _gone: set[str] = field(default_factory=set)
    """What was deleted, of `home`, where it still is."""

    def place(self, path: Any) -> Place | None:
        """Where `path` is; None if it is not below the two folders, or no path."""
        text = _text(path)
        if text is None or "://" in text:
            return None
        whole = os.path.normpath(os.path.join(os.getcwd(), text))
        for root in (self.here, self.home):
            if whole != root and not whole.startswith(root + os.sep):
                continue
            inner = whole[len(root) + 1 :]
            if any(part.startswith(".") for part in inner.split(os.sep)):
                return None
            absolute = os.path.isabs(text)
            taken = inner.partition(os.sep)[0] in TAKEN and not (absolute and root == self.here)
            own = os.path.join(self.here, FILES, inner) if taken else os.path.join(self.here, inner)
            return Place(inner, own, os.path.join(self.home, inner), own == whole or not (absolute or taken))
        return None

    def to_read(self, path: Any) -> Any:
        """`path`, or the path below `home` if it is missing in `here`."""
        place = self.place(path)
        if place is None:
            return _like(path, self._outside(path))
        if _exists(place.own):
            return path if place.as_written else _like(path, place.own)
        return path if self._is_gone(place.inner) or not _exists(place.other) else _like(path, place.other)

    def to_write(self, path: Any, *, keep: bool = False) -> Any:
        """`path` in `here`, whose folder is made if `home` has it. `keep`: with the content that `home` has."""
        place = self.place(path)
        if place is None:
            return path
        self._make_folder(os.path.dirname(place.inner), os.path.dirname(place.own))
        if keep and not _exists(place.own) and not self._is_gone(place.inner):
            with self.off():
                _copy(place.other, place.own)
        return path if place.as_written else _like(path, place.own)

    def to_enter(self, path: Any) -> Any:
        """`path` as a folder to work in."""
        place = self.place(path)
        if place is None:
            return path
        self._make_folder(place.inner, place.own)
        return _like(path, place.own)

    def delete(self, path: Any) -> bool:
        """Have `home`'s file of this name look deleted; returns whether that is all there is to delete."""
        place = self.place(path)
        if place is None or self._is_gone(place.inner) or not _exists(place.other):
            return False
        self._gone.add(place.inner)
        return not _exists(place.own)

    def names_below_home(self, path: Any) -> list[str]:
        """What `home` has in a folder besides `here`."""
        place = self.place(path)
        if place is None or self._is_gone(place.inner):
            return []
        try:
            return [
                name
                for name in _listdir(place.other)
                if not self._is_gone(os.path.join(place.inner, name)) and not _exists(os.path.join(place.own, name))
            ]
        except OSError:
            return []

    def _outside(self, path: Any) -> Any:
        """What a relative path that leads out of `here` means in `home`; `path` itself if it is another."""
        text = _text(path)
        if text is None or "://" in text or os.path.isabs(text) or _exists(text):
            return path
        depth = os.path.relpath(os.getcwd(), self.here)
        there = os.path.normpath(os.path.join(self.home, depth, text))
        return there if _exists(there) else path

    def _make_folder(self, inner: str, own: str) -> None:
        with self.off():
            there = not self._is_gone(inner) and os.path.isdir(os.path.join(self.home, inner))
            if there or own == os.path.join(self.here, FILES):
                os.makedirs(own, exist_ok=True)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Paths are those of the file system, inside."""
        self.is_off = True
        try:
            yield
        finally:
            self.is_off = False

    def _is_gone(self, inner: str) -> bool:
        return inner in self._gone or any(str(parent) in self._gone for parent in Path(inner).parents)


in_use: list[Overlay] = []
"""The overlay of this process, if there is one."""


def active() -> Overlay | None:
    return in_use[-1] if in_use and not in_use[-1].is_off else None


def without() -> AbstractContextManager[None]:
    """Inside, paths are those of the file system."""
    overlay = active()
    return nullcontext() if overlay is None else overlay.off()


def _text(path: Any) -> str | None:
    try:
        return os.fsdecode(path)
    except TypeError:  # a descriptor
        return None


def _like(path: Any, found: Any) -> Any:
    """`found` as bytes, if `path` is."""
    return os.fsencode(found) if isinstance(path, bytes) else found


def _exists(path: str) -> bool:
    try:
        _stat(path)
    except (OSError, ValueError):
        return False
    return True


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target)
    elif _exists(source):
        shutil.copy2(source, target)
