"""Batches of rows of large arrays, read from memory that the tasks of a host share."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs.scripts.shared_memory import LARGE, Shared, shared

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


class Rows:
    """The rows of an array, as TensorFlow sees them in its file.

    TensorFlow maps the file from its start, and the array begins later, at no whole number of rows. So a row is the end
    of one of the file's rows, and the begin of the next one.
    """

    def __init__(self, array: np.ndarray[Any, Any], memory: Shared, offset: int) -> None:
        self._memory = memory
        self._dtype = array.dtype
        self._shape = array.shape[1:]
        self._items = array[0].size
        first = (memory.start + offset) // array.itemsize
        self._before, self._into = divmod(first, self._items)
        self._count = self._before + len(array) + 1

    def tensor(self) -> tf.Tensor:
        """The file, as rows; within a graph, an operation that maps it where the graph is run."""
        import tensorflow as tf

        dtype, shape = tf.as_dtype(self._dtype), [self._count, self._items]
        return tf.raw_ops.ImmutableConst(dtype=dtype, shape=shape, memory_region_name=self._memory.path)

    def take(self, tensor: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """The array's rows `numbers`, of `tensor`; floating-point numbers are of Keras' type, as from its adapter."""
        import keras
        import tensorflow as tf

        rows = tf.gather(tensor, numbers + self._before)
        if self._into:
            rest = tf.gather(tensor, numbers + self._before + 1)
            rows = tf.concat([rows[:, self._into :], rest[:, : self._into]], 1)
        rows = tf.reshape(rows, [-1, *self._shape])
        return tf.cast(rows, keras.config.floatx()) if rows.dtype.is_floating else rows


def all_rows(inputs: Any) -> Sequence[Rows | None]:
    """The rows of each array in the structure `inputs`; none outside of tasks, and beside what is not dense."""
    from keras.src import tree

    leaves = tree.flatten(inputs)
    if "REGATTA_TASK" not in os.environ or not all(hasattr(leaf, "__array__") for leaf in leaves):
        return ()
    return [_rows_of(leaf) for leaf in leaves]


def split_at(arrays: Any, fraction: float) -> tuple[Any, Any]:
    """As Keras' `train_validation_split`, but large arrays are not copied to another type."""
    import numpy as np
    from keras.src import tree
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    def is_large(leaf: Any) -> bool:
        return type(leaf) is np.ndarray and leaf.nbytes >= LARGE

    light = tree.map_structure(lambda leaf: np.broadcast_to(np.uint8(0), len(leaf)) if is_large(leaf) else leaf, arrays)
    first, last = train_validation_split(light, validation_split=fraction)
    return (
        tree.map_structure(lambda leaf, part: leaf[: len(part)] if is_large(leaf) else part, arrays, first),
        tree.map_structure(lambda leaf, part: leaf[-len(part) :] if is_large(leaf) else part, arrays, last),
    )


def _rows_of(array: Any) -> Rows | None:
    """The rows of `array` in shared memory, or None if it is small, no array, or of a kind that cannot be shared."""
    import numpy as np

    if type(array) is not np.ndarray or not array.flags.c_contiguous or not array.size:
        return None
    whole = array
    while type(whole.base) is np.ndarray:
        whole = whole.base
    memory = shared(whole)
    offset = array.ctypes.data - whole.ctypes.data
    if memory is None or (memory.start + offset) % array.itemsize:
        return None
    return Rows(array, memory, offset)


def on_one_host() -> bool:
    """Whether all tasks of the run, which may be given a graph of this one's, are on this host."""
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    hosts = {address.rpartition(":")[0] for addresses in cluster.values() for address in addresses}
    return len(hosts) <= 1
