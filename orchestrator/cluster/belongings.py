"""What a job has beside it that travels to a cluster: by default what git tracks, and what `--include` names.

Python files travel anyway (`orchestrator.cluster.staging`). git is not run: see `orchestrator.doctor.commits`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from orchestrator.doctor.commits import tracked_files
from orchestrator.errors import UsageError
from orchestrator.text import plain

MAX_BYTES = 100_000_000
"""Of all files of a job together: Ray's dashboard accepts 100 MiB."""
_KEPT_HERE = frozenset({"__pycache__", "venv", ".venv", ".git", ".gitignore", ".rayignore"})
"""Names that Ray leaves out of what it uploads, or by which it would leave out more."""
_RESULTS = "runs"
_NAMED = 5
"""Of the things left out, those that are named."""


@dataclass(frozen=True)
class Belongings:
    """The files beside a job that travel with it."""

    files: tuple[Path, ...] = ()
    """In or below the job's folder."""
    left_out: tuple[str, ...] = ()
    """What stays here, with the reason."""


def belongings(folder: Path, patterns: Sequence[str], code: Sequence[Path]) -> Belongings:
    """What in the job's folder travels besides the files of `code`, for `--include` with `patterns`.

    Raises:
        UsageError: a pattern matches nothing, or what it matches is too much.
    """
    wanted = {path for pattern in patterns for path in _matching(folder, pattern)} - set(code)
    left = MAX_BYTES - _size(code) - _size(wanted)
    if left < 0:
        raise UsageError(
            f"include: {', '.join(map(plain, patterns))} and the code in {folder} are {_megabytes(MAX_BYTES - left)}, "
            f"and at most {_megabytes(MAX_BYTES)} can be sent with a job. Put the data where every host can read it, "
            "such as a shared folder or a bucket, and give the job its path."
        )
    tracked = tracked_files(folder)
    left_out = []
    for path in sorted(set(tracked or ()) - wanted - set(code), key=_size_of):  # a large file must not cost small ones
        if reason := _stays(folder, path):
            left_out += [f"{_name(folder, path)} ({reason})"] if path.name not in _KEPT_HERE else []
        elif (size := _size_of(path)) > left:
            left_out.append(f"{_name(folder, path)} ({_megabytes(size)}, over {_megabytes(MAX_BYTES)} in all)")
        else:
            left -= size
            wanted.add(path)
    untracked = "no git checkout here" if tracked is None else "not tracked by git"
    sent = {*wanted, *code}
    left_out += [f"{name} ({untracked})" for name in _others(folder, sent)]
    return Belongings(tuple(sorted(wanted)), tuple(left_out))


def told(folder: Path, found: Belongings) -> str | None:
    """A sentence that names what was left out of `folder`; None if nothing was."""
    if not found.left_out:
        return None
    more = len(found.left_out) - _NAMED
    named = ", ".join([*found.left_out[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
    return f"stays here, in {folder}: {named}. --include PATTERN sends more."


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The files that `pattern` matches; all files in folders that it matches."""
    found: list[Path] = []
    for name in glob.glob(pattern, root_dir=folder, recursive=True):  # noqa: PTH207 - leaves out what is hidden
        path = folder / name
        if _KEPT_HERE.isdisjoint(path.relative_to(folder).parts):
            found += [path] if path.is_file() else _below(path)
    if not found:
        names = [_name(folder, path) for path in _below(folder, limit=10_000)]
        close = get_close_matches(pattern, names, n=1)
        hint = f"did you mean {plain(close[0])}?" if close else "patterns are relative to that folder, as data/*.csv is"
        raise UsageError(f"include: {plain(pattern)!r} matches no file in {folder}: {hint}")
    return found


def _below(folder: Path, limit: int | None = None) -> list[Path]:
    found: list[Path] = []
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += [Path(top, name) for name in sorted(files) if not _is_hidden(name) and Path(top, name).is_file()]
        if limit is not None and len(found) > limit:
            break
    return found


def _stays(folder: Path, path: Path) -> str | None:
    """Why a file that git tracks does not travel by itself."""
    if not _KEPT_HERE.isdisjoint(path.relative_to(folder).parts):
        return "never sent"
    if path.is_dir():
        return "a submodule, or a link to a folder"
    if not path.is_file():
        return "missing"
    if not path.resolve().is_relative_to(folder.resolve()):
        return "a link that leads out of the folder"
    return None


def _others(folder: Path, sent: set[Path]) -> Iterator[str]:
    """Names in `folder` itself of which nothing is sent."""
    tops = {path.relative_to(folder).parts[0] for path in sent}
    for path in sorted(folder.iterdir()):
        if path.name not in tops and not _is_hidden(path.name) and path.name != _RESULTS and path.exists():
            yield plain(f"{path.name}/" if path.is_dir() else path.name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _KEPT_HERE


def _size(paths: Iterable[Path]) -> int:
    return sum(map(_size_of, paths))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _name(folder: Path, path: Path) -> str:
    return plain(path.relative_to(folder).as_posix())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.{0 if size >= 10_000_000 else 1}f} MB"
