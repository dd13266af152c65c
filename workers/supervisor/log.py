"""A task's log: its process writes to an open descriptor, the supervisor reads it piece by piece and masks secrets."""

from __future__ import annotations

import os
from pathlib import Path

from workers import files
from workers.masking import Mask

BYTES_PER_POLL = 1 << 20


class TaskLog:
    """A log in an unlinked file, of which nothing is left behind however the task ends."""

    def __init__(self, path: Path, mask: Mask) -> None:
        self._file = files.create(path, 0o600)
        path.unlink()
        self._mask = mask
        self._read = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def new_bytes(self, *, ended: bool) -> bytes:
        """Return what was written since the last call, with secrets masked. A tail that may begin a secret is held back
        until the process has `ended`."""
        data = os.pread(self._file.fileno(), BYTES_PER_POLL, self._read)
        self._read += len(data)
        return self._mask.log(data, ended=ended and not data)
