"""What git knows of a folder, read without running git or anything that the repository can configure.

git would start programs that a repository names, `filter.*.clean` and `core.fsmonitor` among them, and a spec may name
any folder. Dulwich reads the files of a repository and starts nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dulwich.index import Index, IndexEntry
    from dulwich.repo import Repo

_MAX_INDEX_BYTES = 64 << 20
_MAX_HASHED_BYTES = 256 << 20
"""Of files whose time differs from the index and whose size does not; beyond it they count as changed."""


def commit(directory: Path, tracked: str | None = None) -> str | None:
    """The commit checked out in `directory`, with a `+` if tracked files differ; None outside a repository.

    If `tracked` is given, only the commit of a repository that has that file counts: a virtual environment may
    lie in another project's repository. A file that git converts (line ends, filters) counts as changed if its size or
    time does.
    """
    from dulwich.errors import NotGitRepository
    from dulwich.repo import Repo

    try:
        with Repo.discover(str(directory)) as repository:
            head = repository.head().decode()
            if Path(repository.index_path()).stat().st_size > _MAX_INDEX_BYTES:
                return None
            index = repository.open_index()
            root = Path(repository.path).resolve()
            if tracked is not None and os.fsencode((directory.resolve() / tracked).relative_to(root)) not in index:
                return None
            return f"{head}+" if _differs(repository, index, root) else head
    except NotGitRepository:
        return None
    except Exception:  # noqa: BLE001 - what Dulwich raises for a damaged repository is not to be enumerated
        return None


def tracked_files(folder: Path) -> list[Path] | None:
    """The files in `folder` that git tracks, whether they are there or not; None outside of a repository."""
    from dulwich.repo import Repo

    try:
        with Repo.discover(str(folder)) as repository:
            index = Path(repository.index_path())
            if not index.exists():
                return []
            if index.stat().st_size > _MAX_INDEX_BYTES:
                return None
            inside = folder.resolve().relative_to(Path(repository.path).resolve()).as_posix()
            prefix = b"" if inside == "." else os.fsencode(inside) + b"/"
            names = [name for name in repository.open_index() if name.startswith(prefix)]
            return [folder / os.fsdecode(name.removeprefix(prefix)) for name in names]
    except Exception:  # noqa: BLE001 - as above
        return None


def _differs(repository: Repo, index: Index, root: Path) -> bool:
    from dulwich.index import ConflictedIndexEntry
    from dulwich.objects import Commit

    head = repository[repository.head()]
    if not isinstance(head, Commit):
        raise ValueError("HEAD is no commit")
    if next(iter(index.changes_from_tree(repository.object_store, head.tree)), None) is not None:
        return True
    left = _MAX_HASHED_BYTES
    for name, entry in index.items():
        if isinstance(entry, ConflictedIndexEntry):
            return True
        path = root / os.fsdecode(name)
        try:
            found = path.lstat()
        except OSError:
            return True
        if _is_submodule(entry) or (found.st_size == entry.size and _same_time(found, entry)):
            continue
        left -= found.st_size
        if found.st_size != entry.size or left < 0 or _blob(path, found) != entry.sha:
            return True
    return False


def _is_submodule(entry: IndexEntry) -> bool:
    return stat.S_IFMT(entry.mode) == 0o160000


def _same_time(found: os.stat_result, entry: IndexEntry) -> bool:
    seconds, nanoseconds = entry.mtime if isinstance(entry.mtime, tuple) else (entry.mtime, 0)
    return found.st_mtime_ns == int(seconds) * 1_000_000_000 + nanoseconds


def _blob(path: Path, found: os.stat_result) -> bytes | None:
    """git's name of the file's content; None for anything but a regular file or a link."""
    if stat.S_ISLNK(found.st_mode):
        content = os.fsencode(path.readlink())
    elif stat.S_ISREG(found.st_mode):
        content = path.read_bytes()
    else:
        return None
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest().encode()
