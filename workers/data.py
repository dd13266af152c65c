"""From a job's dataset to the endless stream of full batches that a replica trains on.

One canonical stream exists per job and seed: the job's epochs one after another, cut into batches of
`batch_size`, an epoch's rest joined with the next epoch's start. Batch i goes to worker i mod n. So no sample
is lost or doubled, every step weighs the same, and any number of workers trains on the same stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.api import DataContext, Job

if TYPE_CHECKING:
    import tensorflow as tf


class DataError(ValueError):
    """A job's dataset cannot be trained on; the message says what is wrong and what to do."""


def training_stream(
    job: Job, *, batch_size: int, seed: int, num_shards: int = 1, shard_index: int = 0, sharding: str = "auto"
) -> tf.data.Dataset:
    """Worker `shard_index`'s endless batches, each of exactly `batch_size` samples.

    `sharding`: `auto` deals out whole batches unless the job took its shard itself; `off` gives every worker
    the whole stream.
    """
    import keras
    import tensorflow as tf

    # Unseeded shuffles draw their seed from the global one: equal on every worker, they keep shards disjoint.
    keras.utils.set_random_seed(seed)
    context = DataContext(batch_size, num_shards=num_shards, shard_index=shard_index, seed=seed)
    dataset = checked(job.train_dataset(context), "train_dataset")
    endless = dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    if not endless:
        dataset = dataset.repeat()
    if not (endless and _batch_dimension(dataset) == batch_size):
        dataset = dataset.rebatch(batch_size, drop_remainder=True)
    if sharding == "auto" and num_shards > 1 and not context.sharded_by_job:
        dataset = dataset.shard(num_shards, shard_index)
    return dataset.prefetch(tf.data.AUTOTUNE)


def first_batch(dataset: tf.data.Dataset, name: str) -> Any:
    """The first batch, checked to be one.

    Raises:
        DataError: the dataset is empty, or its elements are single samples.
    """
    batch = next(iter(dataset.take(1)), None)
    if batch is None:
        raise DataError(f"{name} is empty: it yields no batch at all. Check its source and its filters.")
    return batch


def samples_per_epoch(job: Job, batch_size: int) -> int:
    """Samples in one pass over the training data, counted by making that pass.

    Raises:
        DataError: the dataset never ends.
    """
    import tensorflow as tf

    dataset = checked(job.train_dataset(DataContext(batch_size)), "train_dataset")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError("train_dataset never ends, so epochs mean nothing: give the budget as --samples.")
    return sum(int(tf.shape(tf.nest.flatten(batch)[0])[0]) for batch in dataset)


def checked(dataset: Any, name: str) -> tf.data.Dataset:
    """`dataset`, if it is one and is batched; see `first_batch` for emptiness."""
    import tensorflow as tf

    if not isinstance(dataset, tf.data.Dataset):
        raise DataError(f"{name} returned {type(dataset).__name__}; it has to return a tf.data.Dataset.")
    specs = tf.nest.flatten(dataset.element_spec)
    ranks = [spec.shape.rank for spec in specs]
    sizes = {spec.shape[0] for spec in specs if spec.shape.rank} - {None}
    if 0 in ranks or len(sizes) > 1:
        shapes = ", ".join(str(spec.shape) for spec in specs)
        raise DataError(
            f"{name} is not batched: its elements have shapes {shapes}, without a common first dimension. "
            "End it with .batch(context.batch_size)."
        )
    return dataset


def _batch_dimension(dataset: tf.data.Dataset) -> int | None:
    size = tf_first_spec(dataset).shape[0]
    return None if size is None else int(size)


def tf_first_spec(dataset: tf.data.Dataset) -> Any:
    import tensorflow as tf

    return tf.nest.flatten(dataset.element_spec)[0]
