"""A snapshot's arrays as one .npz file that `numpy.load(..., allow_pickle=False)` opens, and back.

Reading trusts nothing: members are stored, not compressed, so that no file unpacks to more than it is; and every
header is compared with the manifest before memory is asked for.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from workers.checkpoints.errors import CheckpointError, DamagedError
from workers.checkpoints.manifest import ARRAYS, Array, File
from workers.snapshot import CallbackMemory, Snapshot

AnyArray = npt.NDArray[Any]
_NUMPYS = frozenset(
    np.dtype(code).name for code in ("?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d", "F", "D")
)  # fmt: skip
"""Types that a .npy file names: bool, signed and unsigned integers, floats and complex numbers."""
_NARROW = ("bfloat16", "float8_", "int4", "uint4", "int2", "uint2")
"""Types of the package ml_dtypes, which .npy files cannot name: kept as unsigned integers of the same width."""


class Hashing(io.RawIOBase):
    """A file that is written once from its beginning to its end, hashed and counted on the way."""

    def __init__(self, under: IO[bytes]) -> None:
        self._under = under
        self._sha256 = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._sha256.update(view)
        self._under.write(view)
        self._size += len(view)
        return len(view)

    @property
    def file(self) -> File:
        return File(size=self._size, sha256=self._sha256.hexdigest())


def parts(snapshot: Snapshot) -> Iterator[tuple[str, AnyArray]]:
    """Kind and value of every array, in the order of the file."""
    yield from (("weights", array) for array in snapshot.weights)
    yield from (("optimizer", array) for array in snapshot.optimizer)
    if snapshot.callbacks is not None:
        yield from (("callbacks", array) for array in snapshot.callbacks.arrays)


def described(snapshot: Snapshot) -> tuple[Array, ...]:
    """Raises CheckpointError for what has no plain form."""
    found = []
    for kind, array in parts(snapshot):
        name = array.dtype.name
        if name not in _NUMPYS and not name.startswith(_NARROW):
            raise CheckpointError(f"a variable of type {name} (in the {kind}) has no plain form to be kept in")
        found.append(Array.model_validate({"kind": kind, "dtype": name, "shape": array.shape}))
    return tuple(found)


def write(snapshot: Snapshot, file: IO[bytes]) -> File:
    """Write the arrays of `snapshot`; returns what was written."""
    hashing = Hashing(file)
    with zipfile.ZipFile(hashing, "w", zipfile.ZIP_STORED) as archive:
        for position, (kind, array) in enumerate(parts(snapshot)):
            plain = array if array.dtype.name in _NUMPYS else array.view(f"u{array.dtype.itemsize}")
            with archive.open(_member(position, kind), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(plain, order="C"), allow_pickle=False)
    return hashing.file


def read(data: bytes, expected: Sequence[Array]) -> list[AnyArray]:
    """The arrays in `data`, which are what `expected` says.

    Raises:
        DamagedError: they are not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [_member(position, array.kind) for position, array in enumerate(expected)]
            if archive.namelist() != names:
                raise DamagedError(f"{ARRAYS} does not hold the arrays that the manifest tells")
            return [_one(archive, name, array) for name, array in zip(names, expected, strict=True)]
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DamagedError(f"{ARRAYS} cannot be read: {str(error)[:200]}") from None


def snapshot_arrays(arrays: Sequence[AnyArray], expected: Sequence[Array]) -> dict[str, tuple[AnyArray, ...]]:
    """By kind, in order."""
    kinds = ("weights", "optimizer", "callbacks")
    return {kind: tuple(a for a, e in zip(arrays, expected, strict=True) if e.kind == kind) for kind in kinds}


def memory(document: Any, arrays: tuple[AnyArray, ...]) -> CallbackMemory | None:
    return None if document is None else CallbackMemory(document, arrays)


def _member(position: int, kind: str) -> str:
    return f"{kind}/{position:06d}.npy"


def _one(archive: zipfile.ZipFile, name: str, expected: Array) -> AnyArray:
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise DamagedError(f"{name} in {ARRAYS} is compressed, which Regatta's never are")
    dtype = _dtype(expected.dtype)
    plain = dtype if expected.dtype in _NUMPYS else np.dtype(f"u{dtype.itemsize}")
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
        raise DamagedError(f"{name} in {ARRAYS} has another length than the manifest says")
    flat = np.frombuffer(data, plain) if data else np.empty(0, plain)
    return flat.reshape(expected.shape).view(dtype)


def _dtype(name: str) -> np.dtype[Any]:
    if name in _NUMPYS:
        return np.dtype(name)
    import ml_dtypes

    if not name.startswith(_NARROW) or not hasattr(ml_dtypes, name):
        raise DamagedError(f"the manifest tells of an array of the unknown type {name}")
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
