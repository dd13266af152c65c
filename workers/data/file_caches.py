"""Files in which a dataset caches its elements (`dataset.cache(path)`), which one reader at a time may write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


def refuse_shared_files(dataset: tf.data.Dataset, name: str, readers: str) -> None:
    """Refuse a cache file that several processes would write; once it is complete, all of them only read it.

    TensorFlow reports "Cache lockfile already exists" in the middle of training (2.21).

    Raises:
        DataError: names the file and the remedies.
    """
    for path in _files(dataset):
        if not Path(f"{path}.index").exists():
            raise DataError(
                f"{name} caches in the file {path}, which {readers} would write at the same time. Cache in memory, "
                "with .cache() or --cache; or give each a file of its own: shard with context.shard(dataset), and put "
                "context.shard_index into the path."
            )


@contextlib.contextmanager
def no_files() -> Iterator[None]:
    """Inside, `dataset.cache(path)` caches nothing: one batch is to be read, and training may have the file open."""
    import tensorflow as tf

    cache = tf.data.Dataset.cache

    def uncached(dataset: Any, filename: str = "", name: str | None = None) -> Any:
        return cache(dataset, filename, name) if isinstance(filename, str) and not filename else dataset

    tf.data.Dataset.cache = uncached
    try:
        yield
    finally:
        tf.data.Dataset.cache = cache


def _files(dataset: Any) -> Iterator[str]:
    import tensorflow as tf

    filename = tf.get_static_value(getattr(dataset, "_filename", None)) if hasattr(dataset, "_filename") else None
    if filename:
        yield filename.decode(errors="replace") if isinstance(filename, bytes) else str(filename)
    for source in dataset._inputs():
        yield from _files(source)
