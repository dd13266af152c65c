"""Samples from a Python generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

Make = Callable[[], Iterable[Any]]
"""Called anew for each epoch. It yields samples: tuples, or nests, of arrays of always the same shapes."""


def dataset(make: Make) -> tf.data.Dataset:
    """Unbatched samples as they are generated; shapes and types are those of the first one.

    Every sample passes through Python, and in `async` mode through Python in the chief's process, over the
    network to the worker. What fits into memory is better loaded once, with `arrays`.
    """
    import tensorflow as tf

    first = next(iter(make()), None)
    if first is None:
        raise ValueError("the generator yields nothing, not even once")
    signature = tf.nest.map_structure(lambda value: tf.TensorSpec.from_tensor(tf.constant(value)), first)
    return tf.data.Dataset.from_generator(make, output_signature=signature)


def arrays(make: Make, limit: int | None = None) -> tuple[Any, ...]:
    """The first `limit` samples (all, if None), each a flat tuple, stacked into one array per part."""
    import numpy as np

    samples = list(islice(make(), limit))
    if not samples:
        raise ValueError("the generator yields nothing, not even once")
    return tuple(np.stack(part) for part in zip(*samples, strict=True))
