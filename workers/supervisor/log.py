"""A task's log: written by its process through an open descriptor, read here piece by piece, masked."""

from __future__ import annotations

import os
from pathlib import Path

from workers.masking import Mask

BYTES_PER_POLL = 1 << 20


class TaskLog:
    """An unnamed file: the descriptors keep it, so nothing is left behind however the task ends."""

    def __init__(self, path: Path, mask: Mask) -> None:
        self._file = path.open("wb+")
        path.unlink()
        self._mask = mask
        self._read = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def new_bytes(self, *, ended: bool) -> bytes:
        """What was written since the last call, secrets masked; the end of a possible secret is held back until the
        process has `ended`."""
        data = os.pread(self._file.fileno(), BYTES_PER_POLL, self._read)
        self._read += len(data)
        return self._mask.log(data, ended=ended and not data)
