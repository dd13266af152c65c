"""Which worker gets which batch of the canonical stream, at the start of a run and after a checkpoint.

A run's stream of batches does not depend on its workers: batch i of it is the (i // n)-th batch of worker i mod n, for
the n workers that the run began with. If the job shards its data itself, the stream is the first batch of every shard,
then the second of every shard, and so on.

If training continues with the same number of workers, each skips the batches that it took. With another number, the
stream is what the previous workers left over, and it is sharded again. So no batch is repeated or lost, whichever
workers took which batches (`Position`). Skipping reads what it skips: the pipeline is repeated from its seed, so random
transformations give the same results. Maps that can wait are not run on batches that are skipped
(`workers.data.late_maps`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.errors import DataError
from workers.messages import Position, Taken

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Batches:
    """An endless dataset of full batches."""

    dataset: tf.data.Dataset
    split: bool
    """Whether it is one worker's shard already, or all batches."""
    late: Callable[[Any], Any] | None = None
    """What has yet to be done to the batches that a worker takes (`workers.data.late_maps`)."""

    def finished(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Some of the batches, as the job makes them."""
        return batches if self.late is None else self.late(batches)


Make = Callable[[int, int], Batches]
"""Makes the batches of one worker, from the number of workers and its index."""


def share(make: Make, workers: int, index: int, position: Position = ()) -> tf.data.Dataset:
    """The batches of worker `index` of `workers`, after `position`."""
    if not position or (len(position) == 1 and position[0].workers == workers):
        batches = make(workers, index)
        dataset = batches.dataset if batches.split or workers == 1 else batches.dataset.shard(workers, index)
        return batches.finished(dataset.skip(position[0].taken[index]) if position else dataset)
    everything = _stream(make, position[0].workers)
    stream = everything.dataset
    for group in position[:-1]:
        stream = _left_over(stream, group)
    last = position[-1]
    if last.workers == workers:
        return everything.finished(stream.shard(workers, index).skip(last.taken[index]))
    return everything.finished(_left_over(stream, last).shard(workers, index))


def whole(make: Make, workers: int, position: Position = ()) -> tf.data.Dataset:
    """All batches that a run begun with `workers` has left after `position`, in order."""
    everything = _stream(make, position[0].workers if position else workers)
    stream = everything.dataset
    for group in position:
        stream = _left_over(stream, group)
    return everything.finished(stream)


def taken_alone(position: Position, index: int) -> int:
    """Batches that worker `index` skips if every worker reads the whole stream."""
    return sum(group.taken[index] if index < group.workers else min(group.taken) for group in position)


def _stream(make: Make, workers: int) -> Batches:
    """The canonical stream of a run that began with `workers`."""
    import tensorflow as tf

    def piece(index: int) -> tf.data.Dataset:
        if tf.executing_eagerly():
            return make(workers, index).dataset
        # In a graph of its own, as on the worker: seeds of unseeded operations depend on the graph's other operations.
        dataset: tf.data.Dataset = tf.function(lambda: make(workers, index).dataset)()
        return dataset

    first = make(workers, 0)
    if not first.split:
        return first
    turns = tf.data.Dataset.range(workers).repeat()
    pieces = [piece(index) for index in range(workers)]
    return Batches(tf.data.Dataset.choose_from_datasets(pieces, turns), split=False)


def _left_over(stream: tf.data.Dataset, group: Taken) -> tf.data.Dataset:
    """The part of `stream` that the workers of `group` did not take, in order."""
    import tensorflow as tf

    least = min(group.taken)
    stream = stream.skip(least * group.workers)
    if max(group.taken) == least:
        return stream
    more = tf.constant([taken - least for taken in group.taken], tf.int64)
    remaining = stream.enumerate().filter(lambda i, _: i // group.workers >= more[i % group.workers])
    return remaining.map(lambda _, batch: batch, num_parallel_calls=tf.data.AUTOTUNE)


def shard_by_file(dataset: tf.data.Dataset, num_shards: int, shard_index: int) -> tf.data.Dataset:
    """Take every `num_shards`-th of the files that `dataset` reads, wherever in its pipeline it reads them.

    Raises:
        DataError: it reads no files with a reader of tf.data, or fewer than there are workers.
    """
    import tensorflow as tf
    from tensorflow.python.data.experimental.ops.distribute import _AutoShardDataset

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.FILE
    try:
        sharded = _AutoShardDataset(dataset.with_options(options), num_shards, shard_index)
        if tf.executing_eagerly() and next(iter(sharded.take(1)), None) is None:
            raise DataError(f"--sharding file: train_dataset reads fewer files than the {num_shards} workers.")
    except tf.errors.NotFoundError:
        raise DataError(
            "--sharding file: train_dataset reads no files with a reader of tf.data (TFRecordDataset, "
            "TextLineDataset, FixedLengthRecordDataset). Use --sharding data or auto."
        ) from None
    except tf.errors.InvalidArgumentError as error:
        if "FILE based sharding" not in str(error):
            raise
        raise DataError(
            f"--sharding file: train_dataset reads fewer files than the {num_shards} workers. Use --sharding data or "
            "auto, or split the data into more files."
        ) from None
    return sharded
