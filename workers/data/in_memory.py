"""Arrays in memory that a dataset is made of, where the dataset is traced into a graph for another process.

In async, each worker's dataset is a graph that the chief sends. TensorFlow writes arrays into a graph as constants:
22 s for 200 MB, measured with one worker, and no more than 2 GB at all. Captured as tensors they took 1.9 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

LARGE = 1 << 20
"""Bytes from which an array is captured; smaller constants are worth more to the graph's optimizer."""
PART = 256 << 20
"""Bytes of a captured tensor, which is one message: those have 2 GB at most."""


@contextlib.contextmanager
def captured_arrays() -> Iterator[None]:
    """Inside, large arrays become inputs of the graph that is traced, instead of constants in it."""
    import tensorflow as tf
    from tensorflow.python.framework import ops

    make_constant = ops._create_graph_constant

    def capture(value: Any, dtype: Any, shape: Any, name: Any, verify_shape: bool, allow_broadcast: bool) -> tf.Tensor:
        array = _array(value)
        fits = array is not None and (shape is None or tf.TensorShape(shape).as_list() == list(array.shape))
        if array is None or array.nbytes < LARGE or not fits:
            return make_constant(value, dtype, shape, name, verify_shape, allow_broadcast)
        count = min(len(array), -(-array.nbytes // PART))
        with tf.init_scope(), tf.device("/device:CPU:0"):
            parts = [tf.constant(part, dtype) for part in np.array_split(array, count)]
        return tf.identity(parts[0]) if count == 1 else tf.concat(parts, 0)

    ops._create_graph_constant = capture
    try:
        yield
    finally:
        ops._create_graph_constant = make_constant


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    """`value` as an array, if it is one or a column of a table (pandas); else None."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value) if type(value).__module__.startswith("pandas.") else None
