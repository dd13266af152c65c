"""The user's code as it reached this host: beside our packages, where the driver staged both.

A job is named by where its user keeps it. On another host that folder is missing, or holds something older; what
was staged is then used in its place, and shown to the user under the name they know.
"""

from __future__ import annotations

import filecmp
import re
from pathlib import Path

FOLDER = "regatta_user_code"
"""Beside our packages in what is staged."""
STAGED = Path(__file__).resolve().parent.parent / FOLDER
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>.*))?")


def job_file(target: str) -> tuple[str, str] | None:
    """The path and the class name (maybe empty) in a target `path/file.py[:Class]`; None for another kind."""
    match = _FILE.fullmatch(target)
    return (match["path"], match["name"] or "") if match else None


def users_folder(target: str, directory: str) -> Path:
    """Where the user keeps a job's file, or the modules that its own are found from."""
    parts = job_file(target)
    return Path(directory, parts[0]).parent if parts else Path(directory)


def here(folder: Path) -> Path:
    """`folder`, or what was staged of it, if this host's is not the same."""
    staged = [path for path in STAGED.rglob("*") if path.is_file() and path.suffix == ".py"]
    if not staged or all(_same(path, folder / path.relative_to(STAGED)) for path in staged):
        return folder
    return STAGED


def as_written(text: str, target: str, directory: str) -> str:
    """`text` with the paths of staged files as their user wrote them: for tracebacks."""
    return text.replace(str(STAGED), str(users_folder(target, directory).absolute()))


def _same(staged: Path, original: Path) -> bool:
    try:
        return filecmp.cmp(staged, original, shallow=False)
    except OSError:
        return False
