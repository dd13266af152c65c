"""Reads and writes a snapshot's arrays as one .npz file that `numpy.load(..., allow_pickle=False)` opens.

Reading trusts nothing: members must be stored uncompressed, so that a file cannot unpack to more than its size, and
every header is compared with the manifest before memory is allocated.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, get_args

import numpy as np
import numpy.typing as npt

from workers.checkpoints.errors import CheckpointError, DamagedError
from workers.checkpoints.manifest import ARRAYS, Array, File, Kind
from workers.snapshot import Snapshot

AnyArray = npt.NDArray[Any]
_NPY_TYPES = frozenset(
    np.dtype(code).name for code in ("?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d", "F", "D")
)  # fmt: skip
"""Types that .npy files support: bool, signed and unsigned integers, floats and complex numbers."""
_NARROW_TYPES = ("bfloat16", "float8_", "int4", "uint4", "int2", "uint2")
"""Types of the package ml_dtypes, which .npy files do not support: stored as unsigned integers of the same width."""


class _HashingFile(io.RawIOBase):
    """Write-only stream that passes data on to a file while computing its SHA-256 and size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._sha256.update(view)
        self._file.write(view)
        self._size += len(view)
        return len(view)

    @property
    def entry(self) -> File:
        return File(size=self._size, sha256=self._sha256.hexdigest())


def _arrays(snapshot: Snapshot) -> Iterator[tuple[str, AnyArray]]:
    """Yield kind and value of every array, in the order of the file."""
    yield from (("weights", array) for array in snapshot.weights)
    yield from (("optimizer", array) for array in snapshot.optimizer)
    yield from (("outer", array) for array in snapshot.outer)
    yield from (("gathered", array) for array in snapshot.gathered)
    if snapshot.callbacks is not None:
        yield from (("callbacks", array) for array in snapshot.callbacks.arrays)


def describe(snapshot: Snapshot) -> tuple[Array, ...]:
    """The manifest's entries for the arrays of `snapshot`.

    Raises:
        CheckpointError: a variable has a type that cannot be stored.
    """
    entries = []
    for kind, array in _arrays(snapshot):
        name = array.dtype.name
        if name not in _NPY_TYPES and not name.startswith(_NARROW_TYPES):
            raise CheckpointError(f"a variable of type {name} (in the {kind}) cannot be stored in a checkpoint")
        entries.append(Array.model_validate({"kind": kind, "dtype": name, "shape": array.shape}))
    return tuple(entries)


def write(snapshot: Snapshot, file: IO[bytes]) -> File:
    """Write the arrays of `snapshot` to `file`; returns their size and SHA-256."""
    hashing = _HashingFile(file)
    with zipfile.ZipFile(hashing, "w", zipfile.ZIP_STORED) as archive:
        for position, (kind, array) in enumerate(_arrays(snapshot)):
            plain = array if array.dtype.name in _NPY_TYPES else array.view(f"u{array.dtype.itemsize}")
            with archive.open(_member(position, kind), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(plain, order="C"), allow_pickle=False)
    return hashing.entry


def read(data: bytes, expected: Sequence[Array]) -> list[AnyArray]:
    """Read the arrays from `data`, in order.

    Raises:
        DamagedError: `data` cannot be read, or its arrays differ from `expected`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [_member(position, array.kind) for position, array in enumerate(expected)]
            if archive.namelist() != names:
                raise DamagedError(f"{ARRAYS} does not hold the arrays that the manifest lists")
            return [_read_array(archive, name, array) for name, array in zip(names, expected, strict=True)]
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DamagedError(f"{ARRAYS} cannot be read: {str(error)[:200]}") from None


def by_kind(arrays: Sequence[AnyArray], expected: Sequence[Array]) -> dict[str, tuple[AnyArray, ...]]:
    """Group `arrays` by kind, each group in order."""
    return {kind: tuple(a for a, e in zip(arrays, expected, strict=True) if e.kind == kind) for kind in get_args(Kind)}


def _member(position: int, kind: str) -> str:
    return f"{kind}/{position:06d}.npy"


def _read_array(archive: zipfile.ZipFile, name: str, expected: Array) -> AnyArray:
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise DamagedError(f"{name} in {ARRAYS} is compressed; Regatta never compresses arrays")
    dtype = _dtype(expected.dtype)
    plain = dtype if expected.dtype in _NPY_TYPES else np.dtype(f"u{dtype.itemsize}")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise DamagedError(f"{name} in {ARRAYS} has an unknown format")
        shape, fortran, found = read_header[version](file)
        if shape != expected.shape or fortran or found != plain:
            raise DamagedError(f"{name} in {ARRAYS} is {found}{shape}, the manifest says {expected.dtype}")
        size = expected.elements * plain.itemsize
        if size > member.file_size:
            raise DamagedError(f"{name} in {ARRAYS} is shorter than the manifest says")
        data = file.read(size + 1)
    if len(data) != size:
        raise DamagedError(f"{name} in {ARRAYS} does not have the length that the manifest says")
    flat = np.frombuffer(data, plain) if data else np.empty(0, plain)
    return flat.reshape(expected.shape).view(dtype)


def _dtype(name: str) -> np.dtype[Any]:
    if name in _NPY_TYPES:
        return np.dtype(name)
    import ml_dtypes

    if not name.startswith(_NARROW_TYPES) or not hasattr(ml_dtypes, name):
        raise DamagedError(f"the manifest lists an array of the unknown type {name}")
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
