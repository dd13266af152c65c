"""Turns a job's dataset into the endless stream of full batches that a replica trains on.

There is one canonical stream per job and seed: the job's epochs one after another, cut into batches of `batch_size`,
with the rest of an epoch joined to the start of the next. Batch i goes to worker i mod n. So no sample is lost or
repeated within an epoch, all steps weigh the same, and any number of workers trains on the same stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.api import DataContext, Job
from workers.data import sharding
from workers.data.counting import counted
from workers.data.file_caches import refuse_shared_files
from workers.data.full_batches import full_batches, padding_of
from workers.data.in_memory import captured_arrays
from workers.data.late_maps import late_maps
from workers.data.sharding import Batches
from workers.errors import DataError
from workers.messages import Position
from workers.settings import ReplicaSettings

if TYPE_CHECKING:
    import tensorflow as tf


def training_stream(
    job: Job,
    settings: ReplicaSettings,
    *,
    seed: int,
    num_shards: int = 1,
    shard_index: int = 0,
    position: Position = (),
    shares: tuple[int, ...] = (),
) -> tf.data.Dataset:
    """Worker `shard_index`'s endless batches, each of exactly `settings.batch_size` samples.

    `settings.sharding`: `auto` splits the stream by batches unless the job shards its data itself; `data` always splits
    it by batches, and the job sees one shard; `file` has each worker read its own input files; `off` gives every worker
    the whole stream. `position` is what the run has trained on so far (`workers.data.sharding`). With `shares`, one per
    worker, each worker gets that many samples of every step's `num_shards` batches; each then reads all of them.
    """
    import tensorflow as tf

    def make(shards: int, index: int) -> Batches:
        return _full_batches(job, settings, seed, shards, index, workers=num_shards)

    if shares:
        joined = full_batches(sharding.whole(make, num_shards, position), sum(shares))
        first, last = sum(shares[:shard_index]), sum(shares[: shard_index + 1])
        dataset = joined.map(lambda *parts: _rows(parts, first, last), num_parallel_calls=tf.data.AUTOTUNE)
    elif settings.sharding == "off":
        dataset = make(num_shards, shard_index).dataset.skip(sharding.taken_alone(position, shard_index))
    else:
        dataset = sharding.share(make, num_shards, shard_index, position)
    if job.class_weight is not None:
        dataset = _weighted_by_class(dataset, dict(job.class_weight))
    return without_tuner(dataset.prefetch(tf.data.AUTOTUNE) if settings.prefetch else dataset)


def without_tuner(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turn off tf.data's autotuner, unless the dataset's options turn it on explicitly.

    The tuner checks a pipeline after 10 ms, 20 ms, 40 ms and so on, up to every minute, in a thread that often is still
    asleep when the iterator is deleted; and the deletion waits for it, with Python's lock held. The next run of a
    comparison began up to 20 s late, the later the longer the previous run had been. Without the tuner, AUTOTUNE means
    as many parallel calls as the task has threads, and a buffer that grows when it is found empty.
    """
    import tensorflow as tf

    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _rows(parts: tuple[Any, ...], first: int, last: int) -> Any:
    """Samples `first` to `last` (exclusive) of a batch, which is one part or a tuple of parts."""
    import tensorflow as tf

    cut = tf.nest.map_structure(lambda part: part[first:last], parts)
    return cut[0] if len(cut) == 1 else cut


def _full_batches(
    job: Job, settings: ReplicaSettings, seed: int, num_shards: int, shard_index: int, *, workers: int
) -> Batches:
    """The endless stream of full batches: all of it, or one worker's shard if the job or its files split it."""
    import keras
    import tensorflow as tf

    sharding_by, batch_size = settings.sharding, settings.batch_size
    # Unseeded shuffles take their seed from the global one. It is the same on every worker, so shards stay disjoint.
    keras.utils.set_random_seed(seed)
    shard = {"num_shards": num_shards, "shard_index": shard_index} if sharding_by == "auto" else {}
    context = DataContext(batch_size, seed=seed, **shard)
    with captured_arrays():
        dataset = checked(job.train_dataset(context), "train_dataset")
    if workers > 1 and not context.sharded_by_job:
        refuse_shared_files(dataset, "train_dataset", f"the {workers} workers")
    endless = dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    if sharding_by == "file" and num_shards > 1:
        dataset = sharding.shard_by_file(dataset, num_shards, shard_index)
    if settings.cache:
        if endless:
            raise DataError("train_dataset never ends, so it cannot be cached: leave out --cache.")
        dataset = dataset.cache()
    padding = padding_of(dataset)  # before a graph's `if` hides the dataset's transformations
    split = num_shards > 1 and (sharding_by == "file" or (sharding_by == "auto" and context.sharded_by_job))
    parts = None
    if workers > 1 and not split and sharding_by != "off" and not settings.cache:
        parts = tf.autograph.experimental.do_not_convert(late_maps)(dataset, batch_size)
    if parts is not None:
        dataset = parts.early
    if not endless:
        dataset = dataset.repeat()
    if not (endless and _batch_dimension(dataset) == batch_size):
        dataset = full_batches(dataset, batch_size, padding)
    late = None if parts is None else tf.autograph.experimental.do_not_convert(parts.finish)
    return Batches(dataset, split=split, late=late)


def first_batch(dataset: tf.data.Dataset, name: str) -> Any:
    """The first batch of `dataset`.

    Raises:
        DataError: the dataset is empty.
    """
    batch = next(iter(dataset.take(1)), None)
    if batch is None:
        raise DataError(f"{name} is empty: it yields no batch at all. Check its source and its filters.")
    return batch


def samples_per_epoch(job: Job, batch_size: int) -> int:
    """Samples in one pass over the training data: as the job declares, else as tf.data knows, else counted.

    Raises:
        DataError: the dataset never ends, or is empty.
    """
    import tensorflow as tf

    if job.samples_per_epoch is not None:
        return job.samples_per_epoch

    def make(size: int) -> tf.data.Dataset:
        return checked(job.train_dataset(DataContext(size)), "train_dataset")

    dataset = make(batch_size)
    batches = int(dataset.cardinality())
    if batches == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            "train_dataset never ends, so it has no epochs: use --samples, and set in the job how many samples its "
            "callbacks count as an epoch (samples_per_epoch = ...)."
        )
    if batches > 1:
        # There are as many batches of one as samples, unless the job ignores the batch size: then the number of
        # batches does not depend on it.
        samples, halves = int(make(1).cardinality()), int(make(2).cardinality())
        if samples > 1 and halves in (samples // 2, -(-samples // 2)):
            if batches == -(-samples // batch_size):
                return samples
            if batches == samples // batch_size:  # the job drops the remainder
                return batches * batch_size
    count = counted(dataset)
    if count == 0:
        raise DataError("train_dataset is empty: it yields no batch at all. Check its source and its filters.")
    return count


def checked(dataset: Any, name: str) -> tf.data.Dataset:
    """Return `dataset` if it is a batched `tf.data.Dataset`; `first_batch` checks that it is not empty.

    Raises:
        DataError: it is not a dataset, or not batched.
    """
    import tensorflow as tf

    if not isinstance(dataset, tf.data.Dataset):
        raise DataError(f"{name} returned {type(dataset).__name__}; it has to return a tf.data.Dataset.")
    specs = tf.nest.flatten(dataset.element_spec)
    if any(isinstance(spec, tf.NoneTensorSpec) for spec in specs):
        has = f"{name} has None as a part of its elements, {dataset.element_spec}"
        raise DataError(f"{has}. Leave that part out: yield (x, y), or x alone for a model that needs no targets.")
    ranks = [spec.shape.rank for spec in specs]
    sizes = {spec.shape[0] for spec in specs if spec.shape.rank} - {None}
    if 0 in ranks or len(sizes) > 1:
        shapes = ", ".join(str(spec.shape) for spec in specs)
        raise DataError(
            f"{name} is not batched: its elements have shapes {shapes}, without a common first dimension. "
            "End it with .batch(context.batch_size)."
        )
    return dataset


def _weighted_by_class(dataset: tf.data.Dataset, weights: dict[int, float]) -> tf.data.Dataset:
    """Map (x, y) to (x, y, weight of y), with the code that `fit(class_weight=...)` uses.

    Raises:
        DataError: the dataset has sample weights already, or no labels.
    """
    import tensorflow as tf
    from keras.src.trainers.data_adapters.tf_dataset_adapter import make_class_weight_map_fn

    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2 or len(tf.nest.flatten(spec[1])) != 1:
        raise DataError(
            "class_weight is for datasets of (x, y) with one y, but this one's elements are "
            f"{_described(spec)}. Give the weights as a third part, (x, y, sample_weight), without class_weight."
        )
    return dataset.map(make_class_weight_map_fn(weights), num_parallel_calls=tf.data.AUTOTUNE)


def _described(spec: Any) -> str:
    import tensorflow as tf

    return str(tf.nest.map_structure(lambda part: str(part.shape), spec))


def _batch_dimension(dataset: tf.data.Dataset) -> int | None:
    import tensorflow as tf

    size = tf.nest.flatten(dataset.element_spec)[0].shape[0]
    return None if size is None else int(size)
