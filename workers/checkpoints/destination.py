"""Opens the storage of checkpoints that a spec names."""

from __future__ import annotations

from pathlib import Path

from workers.checkpoints.retries import PatientStorage
from workers.checkpoints.storage import LocalStorage, Storage


def open_storage(destination: str) -> Storage:
    """Open `destination`, a path or a URI.

    Raises:
        CheckpointError: `pyarrow.fs` does not support the URI.
    """
    destination = destination.removeprefix("file://")
    if "://" not in destination:
        return PatientStorage(LocalStorage(Path(destination)))
    from workers.checkpoints.remote import RemoteStorage

    return PatientStorage(RemoteStorage(destination))
