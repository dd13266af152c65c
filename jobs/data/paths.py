"""Paths in a job's params: made absolute where they were typed, so that they mean the same in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def existing(path: str) -> str:
    """`path` made absolute. Raises ValueError, which pydantic expects, if nothing is there."""
    absolute = Path(path).expanduser().absolute()
    if not absolute.exists():
        raise ValueError(f"there is no file or folder {absolute}")
    return str(absolute)


ExistingPath = Annotated[str, AfterValidator(existing)]
"""A param that is the absolute path of something that exists."""
