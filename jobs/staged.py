"""Finds the user's code on this host: the original folder, or the copy that the driver staged beside our packages.

A job reference names the folder on the user's machine. On another host that folder is missing or may be outdated; then
the staged copy is used, and messages show the original paths.
"""

from __future__ import annotations

import filecmp
import re
from pathlib import Path

FOLDER = "regatta_user_code"
"""Folder of the user's code, beside our packages."""
STAGED = Path(__file__).resolve().parent.parent / FOLDER
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>.*))?")


def job_file(job: str) -> tuple[str, str] | None:
    """Split a job reference `path/file.py[:Class]` into path and class name (or ""); None for other references."""
    match = _FILE.fullmatch(job)
    return (match["path"], match["name"] or "") if match else None


def users_folder(job: str, directory: str) -> Path:
    """The folder on the user's machine that contains the job's file, or in which its module is searched."""
    parts = job_file(job)
    return Path(directory, parts[0]).parent if parts else Path(directory)


def on_this_host(folder: Path) -> Path:
    """Return `folder` if this host has it with the same content, else its staged copy."""
    staged = [path for path in STAGED.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    if not staged or all(_same(path, folder / path.relative_to(STAGED)) for path in staged):
        return folder
    return STAGED


def home_of(job: str, directory: str) -> Path:
    """Where the job's relative paths lead on this host: `directory`, or the staged copy of the job's folder."""
    folder = users_folder(job, directory)
    found = on_this_host(folder)
    return Path(directory) if found == folder else found


def as_written(text: str, job: str, directory: str) -> str:
    """Replace the paths of staged files in `text` by the user's original paths, for tracebacks."""
    return text.replace(str(STAGED), str(users_folder(job, directory).absolute()))


def _same(staged: Path, original: Path) -> bool:
    try:
        return filecmp.cmp(staged, original, shallow=False)
    except OSError:
        return False
