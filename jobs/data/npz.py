"""NumPy archives."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.data.errors import DataFileError, existing_file, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load(path: str | Path, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """The arrays called `names` in an `.npz` file, as many rows in each.

    Raises:
        DataFileError: no such file, not an archive, an array missing, made of Python objects, or not as long.
    """
    import numpy as np

    path = existing_file(path)
    with reading(path, ".npz file", OSError, ValueError, zipfile.BadZipFile, EOFError):
        archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataFileError(path, "holds one bare array; numpy.savez(file, x=..., y=...) names them")
    with archive:
        absent = [name for name in names if name not in archive]
        if absent:
            has = ", ".join(archive.files) or "nothing"
            raise DataFileError(path, f"has no array {absent[0]!r}; it has {has}")
        with reading(path, ".npz file", OSError, ValueError, zipfile.BadZipFile, EOFError):
            arrays = tuple(archive[name] for name in names)
    lengths = {name: len(array) for name, array in zip(names, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise DataFileError(path, f"its arrays differ in length: {lengths}")
    return arrays
