"""Datasets from a Python generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

Make = Callable[[], Iterable[Any]]
"""Called once per epoch; yields samples: tuples, or nested structures, of arrays whose shapes never change."""


def dataset(make: Make) -> tf.data.Dataset:
    """Build a dataset of single samples, with the shapes and types of the first one.

    Every sample passes through Python, and in `async` mode through Python in the chief's process and over the network
    to the worker. Data that fit into memory are better loaded once, with `arrays`.
    """
    import tensorflow as tf

    first = next(iter(make()), None)
    if first is None:
        raise ValueError("the generator yields nothing")
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec.from_tensor(tf.constant(value)), first)
    return tf.data.Dataset.from_generator(make, output_signature=signature)


def arrays(make: Make, limit: int | None = None) -> tuple[Any, ...]:
    """Stack the first `limit` samples (all, if None), each a flat tuple, into one array per tuple element."""
    import numpy as np

    samples = list(islice(make(), limit))
    if not samples:
        raise ValueError("the generator yields nothing")
    return tuple(np.stack(part) for part in zip(*samples, strict=True))
