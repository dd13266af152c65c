"""Loads NumPy archives."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.data.errors import DataFileError, existing_file, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load(path: str | Path, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Load the arrays `names`, all of the same length, from an `.npz` file.

    Raises:
        DataFileError: no such file, not an archive, or an array is missing, of Python objects, or of another length.
    """
    import numpy as np

    path = existing_file(path)
    with reading(path, ".npz file", OSError, ValueError, zipfile.BadZipFile, EOFError):
        archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataFileError(path, "holds a single unnamed array; save with numpy.savez(file, x=..., y=...)")
    with archive:
        absent = [name for name in names if name not in archive]
        if absent:
            present = ", ".join(archive.files) or "none"
            raise DataFileError(path, f"has no array {absent[0]!r}; it has {present}")
        with reading(path, ".npz file", OSError, ValueError, zipfile.BadZipFile, EOFError):
            arrays = tuple(archive[name] for name in names)
    lengths = {name: len(array) for name, array in zip(names, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise DataFileError(path, f"its arrays differ in length: {lengths}")
    return arrays
