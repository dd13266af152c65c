"""Paths in a job's params, made absolute on the user's machine so that workers resolve them the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def existing(path: str) -> str:
    """Make `path` absolute; raises ValueError, as pydantic expects, if it does not exist."""
    absolute = Path(path).expanduser().absolute()
    if not absolute.exists():
        raise ValueError(f"there is no file or folder {absolute}")
    return str(absolute)


ExistingPath = Annotated[str, AfterValidator(existing)]
"""Type of a param: the path of an existing file or folder, made absolute."""
