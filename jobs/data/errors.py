"""The error that loaders raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WHERE = "Workers read it from this path on every host"


class DataFileError(ValueError):
    """A data file is missing, unreadable or invalid; the message names it and the remedy."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def existing_file(path: str | Path) -> Path:
    """Return `path` if it is a file; raise DataFileError otherwise."""
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "there is no such file"
        raise DataFileError(path, f"{what}. {WHERE}")
    return path


@contextmanager
def reading(path: str | Path, what: str, *failures: type[Exception]) -> Iterator[None]:
    """Turn `failures`, which a reader raises for a damaged file, into a `DataFileError` that names the file."""
    try:
        yield
    except failures as error:
        raise DataFileError(path, f"not a readable {what}: {type(error).__name__}: {error}") from error
