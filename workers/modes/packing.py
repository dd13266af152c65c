"""Packs small tensors for one parameter server into one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

SMALL_BYTES = 1 << 18
"""A larger variable or gradient is sent alone, because its bytes cost more than the message."""


def packed_by_server(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The same pairs of gradient and variable, with small gradients sent to each parameter server in one piece."""
    import tensorflow as tf

    pairs = list(pairs)
    small = [p for p, (gradient, _) in enumerate(pairs) if _is_small(gradient)]
    for group in grouped(small, lambda p: (pairs[p][1].device, pairs[p][0].dtype.name)):
        packed = tf.concat([tf.reshape(pairs[p][0], [-1]) for p in group], axis=0)
        with tf.device(pairs[group[0]][1].device):
            parts = tf.split(tf.identity(packed), [pairs[p][0].shape.num_elements() for p in group])
            for position, part in zip(group, parts, strict=True):
                gradient, variable = pairs[position]
                pairs[position] = tf.reshape(part, gradient.shape), variable
    return pairs


def _is_small(gradient: Any) -> bool:
    import tensorflow as tf

    if gradient is None or isinstance(gradient, tf.IndexedSlices) or not gradient.shape.is_fully_defined():
        return False
    return size_of(gradient) <= SMALL_BYTES


def size_of(value: Any) -> int:
    return int(value.shape.num_elements() * value.dtype.size)


def grouped(items: Sequence[Any], key: Callable[[Any], Any]) -> Iterator[list[Any]]:
    for _, group in groupby(sorted(items, key=key), key):
        yield list(group)
