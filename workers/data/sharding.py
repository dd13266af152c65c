"""Who gets which batch of the canonical stream, at the beginning and when training goes on from a checkpoint.

A run's stream of batches never changes, whoever trains on it: batch i of it is the (i // n)-th of worker i mod n, for
the n workers that the run began with. That is also so where the job takes its shards itself: the stream then is the
first batch of every shard, the second of every shard, and so on.

When training goes on with as many workers, each skips what it took. With another number of them, what all workers
before left over is the stream, and is group out anew. So no batch comes twice and none is lost, whatever was taken by
whom (`Position`). Skipping reads what is skipped: a pipeline is repeated from its seed, and random transformations
come out as they would have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.messages import Position, Taken

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Batches:
    """An endless dataset of full batches."""

    dataset: tf.data.Dataset
    split: bool
    """Whether it holds one worker's share already, or all batches."""


Make = Callable[[int, int], Batches]
"""From the number of workers and the index of one of them to what it reads."""


def share(make: Make, workers: int, index: int, position: Position = ()) -> tf.data.Dataset:
    """The batches of worker `index` of `workers`, after `position`."""
    if not position or (len(position) == 1 and position[0].workers == workers):
        mine = make(workers, index)
        dataset = mine.dataset if mine.split or workers == 1 else mine.dataset.shard(workers, index)
        return dataset.skip(position[0].taken[index]) if position else dataset
    stream = _stream(make, position[0].workers)
    for group in position[:-1]:
        stream = _left_over(stream, group)
    last = position[-1]
    if last.workers == workers:
        return stream.shard(workers, index).skip(last.taken[index])
    return _left_over(stream, last).shard(workers, index)


def whole(make: Make, workers: int, position: Position = ()) -> tf.data.Dataset:
    """All batches that a run of `workers` has left after `position`, in their order."""
    stream = _stream(make, position[0].workers if position else workers)
    for group in position:
        stream = _left_over(stream, group)
    return stream


def taken_alone(position: Position, index: int) -> int:
    """Batches that worker `index` skips where every worker reads the whole stream by itself."""
    return sum(group.taken[index] if index < group.workers else min(group.taken) for group in position)


def _stream(make: Make, workers: int) -> tf.data.Dataset:
    """The canonical stream of a run that began with `workers`."""
    import tensorflow as tf

    def piece(index: int) -> tf.data.Dataset:
        if tf.executing_eagerly():
            return make(workers, index).dataset
        # A graph of its own, as the worker had: the seeds of unseeded operations depend on what is in the graph.
        dataset: tf.data.Dataset = tf.function(lambda: make(workers, index).dataset)()
        return dataset

    first = make(workers, 0)
    if not first.split:
        return first.dataset
    turns = tf.data.Dataset.range(workers).repeat()
    return tf.data.Dataset.choose_from_datasets([piece(index) for index in range(workers)], turns)


def _left_over(stream: tf.data.Dataset, group: Taken) -> tf.data.Dataset:
    """What the workers before did not take of `stream`, in its order."""
    import tensorflow as tf

    least = min(group.taken)
    stream = stream.skip(least * group.workers)
    if max(group.taken) == least:
        return stream
    more = tf.constant([taken - least for taken in group.taken], tf.int64)
    remaining = stream.enumerate().filter(lambda i, _: i // group.workers >= more[i % group.workers])
    return remaining.map(lambda _, batch: batch, num_parallel_calls=tf.data.AUTOTUNE)
