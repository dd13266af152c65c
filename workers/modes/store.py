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

_ALIGNED = 64
_HEADER = _ALIGNED
"""Bytes in front of the buffers: the number of the present state. Each buffer begins with its count of updates."""
_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock`, of which the last number is the process that holds the lock."""


@dataclass(frozen=True)
class Layout:
    """Types and shapes of the arrays of a state, in order."""

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each array begins in a buffer, in bytes, and where the buffer ends."""
        found = [_ALIGNED]
        for dtype, shape in self.entries:
            used = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            found.append(found[-1] + used + -used % _ALIGNED)
        return tuple(found)

    @property
    def memory_size(self) -> int:
        """Bytes of a store's memory."""
        return _HEADER + 2 * self.offsets[-1]


class Store:
    """One process' access to the state."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        """`descriptor` is the memory's, which this object owns: closing any other of the same memory in this process
        would drop the lock."""
        self.descriptor = descriptor
        self.layout = layout
        memory = mmap.mmap(descriptor, layout.memory_size)
        self._number = np.ndarray((), np.int64, memory)
        starts = [_HEADER + half * layout.offsets[-1] for half in (0, 1)]
        self._counts = [np.ndarray((), np.int64, memory, start) for start in starts]
        self._buffers = [
            [
                np.ndarray(shape, dtype, memory, start + offset)
                for (dtype, shape), offset in zip(layout.entries, layout.offsets, strict=False)
            ]
            for start in starts
        ]

    @classmethod
    def create(cls, layout: Layout) -> Store:
        descriptor = os.memfd_create("regatta-state")
        os.ftruncate(descriptor, layout.memory_size)
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

    def read(self, positions: Sequence[int] | None = None) -> list[npt.NDArray[Any]]:
        """Copies of the arrays of the present state, of all or of those at `positions`."""
        present = self._buffers[self.number % 2]
        return [array.copy() for array in (present if positions is None else map(present.__getitem__, positions))]

    def write(self, arrays: Sequence[npt.NDArray[Any]], count: int) -> None:
        """Make `arrays` the present state, after `count` updates."""
        following = self.number + 1
        for own, array in zip(self._buffers[following % 2], arrays, strict=True):
            own[...] = array
        self._counts[following % 2][...] = count
        self._number[...] = following
