"""The training state of an asynchronous group on one host, in memory that all its processes share.

Two buffers hold the state: one is the present state, and an update is written to the other, which then becomes the
present one by a single write of its number. A process that dies in the middle of an update leaves nothing of it behind.
A record lock on the memory makes updates follow one another; the kernel drops it when its holder ends, however it ends
(docs/adr/0017-a-store-in-memory.md).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

_HEADER = 64
"""Bytes in front of the buffers: the number of the present state. Each buffer begins with its count of updates."""
_ALIGNED = 64
_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock`, of which the last number is the process that holds the lock."""
Flats = tuple[npt.NDArray[Any], ...]
"""The arrays of a state, joined by type: one vector for each type."""


@dataclass(frozen=True)
class Layout:
    """Types and shapes of the arrays of a state, in order."""

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, arrays: Sequence[npt.NDArray[Any]]) -> Layout:
        return cls(tuple((array.dtype.name, array.shape) for array in arrays))

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """The types that occur, one for each vector of `Flats`."""
        return tuple(dict.fromkeys(dtype for dtype, _ in self.entries))

    def members(self, dtype: str) -> list[int]:
        """Positions of the arrays of one type."""
        return [position for position, (found, _) in enumerate(self.entries) if found == dtype]

    def size(self, position: int) -> int:
        """Number of elements of an array."""
        return int(np.prod(self.entries[position][1], dtype=np.int64))

    def length(self, dtype: str) -> int:
        """Number of elements of a type's vector."""
        return sum(map(self.size, self.members(dtype)))

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each type's vector begins in a buffer, in bytes, and where the buffer ends."""
        found = [_ALIGNED]
        for dtype in self.dtypes:
            used = self.length(dtype) * np.dtype(dtype).itemsize
            found.append(found[-1] + used + -used % _ALIGNED)
        return tuple(found)

    def joined(self, arrays: Sequence[npt.NDArray[Any]]) -> Flats:
        """The vectors of a state's arrays."""
        return tuple(
            np.concatenate([np.reshape(arrays[member], -1) for member in self.members(dtype)]) for dtype in self.dtypes
        )

    def split(self, flats: Flats) -> list[npt.NDArray[Any]]:
        """The arrays of a state's vectors."""
        arrays: dict[int, npt.NDArray[Any]] = {}
        for dtype, flat in zip(self.dtypes, flats, strict=True):
            members = self.members(dtype)
            parts = np.split(flat, np.cumsum([self.size(member) for member in members])[:-1])
            for member, part in zip(members, parts, strict=True):
                arrays[member] = part.reshape(self.entries[member][1])
        return [arrays[position] for position in range(len(self.entries))]


class Store:
    """One process' access to the state."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        """`descriptor` is the memory's, which this object owns: closing any other of the same memory in this process
        would drop the lock."""
        self.descriptor = descriptor
        self.layout = layout
        self._memory = mmap.mmap(descriptor, memory_size(layout))
        self._number = np.ndarray((), np.int64, self._memory)
        starts = [_HEADER + half * layout.offsets[-1] for half in (0, 1)]
        self._counts = [np.ndarray((), np.int64, self._memory, start) for start in starts]
        self._vectors = [
            tuple(
                np.ndarray(layout.length(dtype), dtype, self._memory, start + offset)
                for dtype, offset in zip(layout.dtypes, layout.offsets, strict=False)
            )
            for start in starts
        ]

    @classmethod
    def create(cls, layout: Layout) -> Store:
        descriptor = os.memfd_create("regatta-state")
        os.ftruncate(descriptor, memory_size(layout))
        return cls(descriptor, layout)

    @property
    def number(self) -> int:
        """The number of the present state, which grows with every write, counted or not."""
        return int(self._number)

    @property
    def count(self) -> int:
        """The number of updates in the present state."""
        return int(self._counts[self.number % 2])

    def lock(self) -> None:
        """Wait for the lock. Processes exclude one another; the threads of one do not."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)

    def unlock(self) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def holder(self) -> int | None:
        """The process that holds the lock; None if none does, or this one."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = _FLOCK.unpack(fcntl.fcntl(self.descriptor, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else pid

    # What follows needs the lock.

    def read(self) -> Flats:
        """A copy of the present state."""
        return tuple(vector.copy() for vector in self._vectors[self.number % 2])

    def write(self, flats: Flats, count: int) -> None:
        """Make `flats` the present state, after `count` updates."""
        following = self.number + 1
        for vector, flat in zip(self._vectors[following % 2], flats, strict=True):
            vector[:] = flat
        self._counts[following % 2][...] = count
        self._number[...] = following


def memory_size(layout: Layout) -> int:
    """Bytes of a store's memory."""
    return _HEADER + 2 * layout.offsets[-1]
