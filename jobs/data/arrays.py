"""Turns arrays in memory into a batched `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.api import DataContext

if TYPE_CHECKING:
    import tensorflow as tf

    Prepare = Callable[..., Any]


def batches(
    arrays: tuple[Any, ...],
    context: DataContext,
    *,
    train: bool,
    prepare: Prepare | None = None,
    augment: Prepare | None = None,
) -> tf.data.Dataset:
    """Batch `arrays`, all of the same length; with `train`, shard them, and reshuffle them in each epoch.

    `prepare(*batch)` is applied to every batch, then `augment(seed, *batch)` with a new int64 seed of shape (2,) for
    each batch, for the `tf.image.stateless_*` operations, so that images are the same in every mode.

    Row numbers are sharded and shuffled, and rows gathered last: a shuffle buffer of numbers costs nothing. The arrays
    become tensors outside the graph being built: as constants in it, 150 MB of images took 15 s to reach an
    asynchronous worker; captured, 1 s.
    """
    import tensorflow as tf

    with tf.init_scope(), tf.device("CPU:0"):
        columns = [tf.constant(array) for array in arrays]
    rows = tf.data.Dataset.range(len(arrays[0]))
    if train:
        rows = context.shard(rows).shuffle(len(arrays[0]), seed=context.seed, reshuffle_each_iteration=True)
    rows = rows.batch(context.batch_size)

    def gather(numbers: tf.Tensor) -> Any:
        batch = tuple(tf.gather(column, numbers) for column in columns)
        return prepare(*batch) if prepare else batch

    if augment is None:
        return rows.map(gather, num_parallel_calls=tf.data.AUTOTUNE)

    def gather_augmented(numbers: tf.Tensor, seed: tf.Tensor) -> Any:
        return augment(seed, *gather(numbers))

    seeds = tf.data.Dataset.random(seed=context.seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip((rows, seeds)).map(gather_augmented, num_parallel_calls=tf.data.AUTOTUNE)
