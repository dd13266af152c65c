"""Storage whose passing errors are tried again: a busy file server, or an object store that answers 503."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable
from typing import TypeVar

from workers.checkpoints.storage import Draft, Storage

WAITS = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each further try."""
_LASTING = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ELOOP, errno.EINVAL),
    *(errno.EISDIR, errno.ENOTDIR, errno.EFBIG, errno.EEXIST, errno.ENAMETOOLONG),
}
"""Errors that another try does not end."""
_Result = TypeVar("_Result")


class PatientStorage:
    """`storage`, with reads and small writes tried again after an error that may pass. Drafts are not: their writer
    reports a failed checkpoint, and the next one follows soon."""

    def __init__(self, storage: Storage, sleep: Callable[[float], None] = time.sleep) -> None:
        self._storage = storage
        self._sleep = sleep
        self.url = storage.url

    def names(self) -> list[str]:
        return self._patiently(self._storage.names)

    def read(self, name: str, limit: int) -> bytes | None:
        return self._patiently(lambda: self._storage.read(name, limit))

    def put(self, name: str, data: bytes) -> None:
        self._patiently(lambda: self._storage.put(name, data))

    def draft(self, name: str) -> contextlib.AbstractContextManager[Draft]:
        return self._storage.draft(name)

    def remove(self, name: str) -> None:
        self._patiently(lambda: self._storage.remove(name))

    def clean(self) -> None:
        self._patiently(self._storage.clean)

    def free_bytes(self) -> int | None:
        return self._storage.free_bytes()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        return self._storage.locked()

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        for wait in WAITS:
            try:
                return call()
            except OSError as error:
                if error.errno in _LASTING:
                    raise
                self._sleep(wait)
        return call()
