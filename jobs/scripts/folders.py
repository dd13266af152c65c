"""Runs a script in a folder of its own, where it finds the files of the user's folder as if it ran there.

The process' working folder is the script's own, so whatever writes relative paths writes there, native code included.
Functions that read are replaced: what is missing there is read in the user's folder. Native readers that are not
among them do not find such files, and say so; nothing of the user's is ever written to.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from jobs.scripts.overlay import Overlay, active, in_use

_installed: list[bool] = []


def scratch() -> Path:
    """A new folder for files that are not wanted; it ends with this process' temporary files."""
    return Path(tempfile.mkdtemp(prefix="regatta-script-")).resolve()


def enter(home: Path, here: Path) -> None:
    """Run in `here`, above `home`, from now on."""
    _install()
    in_use.clear()
    here.mkdir(parents=True, exist_ok=True)
    overlay = Overlay(str(home.resolve()), str(here.resolve()))
    os.chdir(overlay.here)
    in_use[:] = [overlay]


def move(here: Path) -> None:
    """Move what was written so far to the folder `here`, and run there. The old path leads there as well."""
    overlay = in_use.pop()
    here.mkdir(parents=True, exist_ok=True)
    old, here = Path(overlay.here), here.resolve()
    for path in old.iterdir():
        target = here / path.name
        if target.is_dir() and path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.move(path, target)
    os.chdir(here)
    shutil.rmtree(old)
    old.symlink_to(here)
    overlay.here = str(here)
    in_use.append(overlay)


def leave(home: Path) -> None:
    """Run in `home` from now on."""
    in_use.clear()
    os.chdir(home)


@contextmanager
def within(home: Path, here: Path) -> Iterator[None]:
    """Run in `here`, above `home`, inside."""
    before, cwd = list(in_use), Path.cwd()
    enter(home, here)
    try:
        yield
    finally:
        in_use.clear()
        os.chdir(cwd)
        in_use[:] = before


def _install() -> None:
    """Replace, once, the functions that look for files; they act only while there is an overlay."""
    if _installed:
        return
    _installed.append(True)
    for name in ("stat", "lstat", "access"):
        _replace(os, name, Overlay.to_read)
    for name in ("chmod", "utime", "truncate"):
        _replace(os, name, lambda overlay, path: overlay.to_write(path, keep=True))
    _replace(os, "mkdir", lambda overlay, path: overlay.to_write(path))
    _replace(os, "chdir", lambda overlay, path: overlay.to_enter(path))
    _replace(sqlite3, "connect", lambda overlay, path: overlay.to_write(path, keep=True))
    _replace_open()
    _replace_lists()
    for module, name in ((os, "remove"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree")):
        _replace_deletion(module, name)
    for name in ("rename", "replace"):
        _replace_move(name)
    sys.meta_path.append(_RelativeEntries())
    from jobs.scripts import native_files

    native_files.install(_replace)


def _replace(holder: Any, name: str, path_of: Callable[[Overlay, Any], Any]) -> None:
    """Have the function `holder.name` be called with another path as its first argument."""
    function = getattr(holder, name)

    @wraps(function, updated=())
    def replaced(*arguments: Any, **options: Any) -> Any:
        overlay = active()
        if overlay is not None and options.get("dir_fd") is None:
            if arguments:
                arguments = (path_of(overlay, arguments[0]), *arguments[1:])
            for key in options.keys() & {"path", "database"}:
                options[key] = path_of(overlay, options[key])
        return function(*arguments, **options)

    setattr(holder, name, replaced)


def _replace_open() -> None:
    open_, os_open = io.open, os.open

    @wraps(open_)
    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        overlay = active()
        if overlay is not None:
            if set(mode) & set("wxa+"):
                file = overlay.to_write(file, keep=bool(set(mode) & set("a+")) and "w" not in mode)
            else:
                file = overlay.to_read(file)
        return open_(file, mode, *arguments, **options)

    @wraps(os_open)
    def os_opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        overlay = active()
        if overlay is not None and options.get("dir_fd") is None:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                path = overlay.to_write(path, keep=not flags & os.O_TRUNC)
            elif not os.path.isdir(found := overlay.to_read(path)):  # a folder's descriptor may be for deleting
                path = found
        return os_open(path, flags, *arguments, **options)

    builtins.open = io.open = opened
    os.open = os_opened
    import bz2
    import tarfile

    from numpy.lib import _datasource

    for module, name in ((tarfile, "bltn_open"), (bz2, "_builtin_open")):
        setattr(module, name, opened)  # they hold it by this name
    _datasource._file_openers._file_openers[None] = opened  # type: ignore[attr-defined]  # of np.loadtxt


def _replace_lists() -> None:
    listdir, scandir = os.listdir, os.scandir

    @wraps(listdir)
    def listed(path: Any = ".") -> Any:
        overlay = active()
        if overlay is None or isinstance(path, int):
            return listdir(path)
        more = overlay.names_below_home(path)
        own = listdir(overlay.to_read(path))
        return list(dict.fromkeys([*own, *(map(os.fsencode, more) if isinstance(path, bytes) else more)]))

    @wraps(scandir)
    def scanned(path: Any = ".") -> Any:
        overlay = active()
        if overlay is None or isinstance(path, int):
            return scandir(path)
        first = overlay.to_read(path)
        entries: list[Any] = []
        with scandir(first) as found:
            entries += found
        place = overlay.place(path)
        more = set(overlay.names_below_home(path)) - {os.fsdecode(entry.name) for entry in entries}
        if place is not None and more:
            with scandir(os.fsencode(place.other) if isinstance(path, bytes) else place.other) as found:
                entries += [entry for entry in found if os.fsdecode(entry.name) in more]
        return _Scanned(entries)

    os.listdir, os.scandir = listed, scanned


class _Scanned:
    """Entries as `os.scandir` returns them."""

    def __init__(self, entries: list[Any]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> _Scanned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def _replace_deletion(module: Any, name: str) -> None:
    function = getattr(module, name)

    @wraps(function, updated=())
    def deleted(path: Any, *arguments: Any, **options: Any) -> Any:
        overlay = active()
        if overlay is not None and options.get("dir_fd") is None:
            if overlay.delete(path):
                return None
            path = overlay.to_write(path)
        return function(path, *arguments, **options)

    setattr(module, name, deleted)


def _replace_move(name: str) -> None:
    function = getattr(os, name)

    @wraps(function)
    def moved(source: Any, target: Any, **options: Any) -> None:
        overlay = active()
        if overlay is not None and not options:
            kept = overlay.to_write(source, keep=True)
            overlay.delete(source)
            source, target = kept, overlay.to_write(target)
        function(source, target, **options)

    setattr(os, name, moved)


class _RelativeEntries:
    """Finds modules in relative entries of `sys.path` that mean the user's folder."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        overlay = active()
        if overlay is None or path is not None:
            return None
        folders = [os.path.join(overlay.home, entry) for entry in sys.path if not os.path.isabs(entry)]
        return PathFinder.find_spec(name, folders, target) if folders else None
