"""Datasets of several kinds: those of which maps can be postponed, and those that have to stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 4
Pipeline = Callable[[], Any]


def numbers(count: int = 22) -> Any:
    """Samples (x, y), which no batch size used here divides."""
    import tensorflow as tf

    x = np.arange(3 * count, dtype=np.float32).reshape(count, 3) / 7
    return tf.data.Dataset.from_tensor_slices((x, np.arange(count, dtype=np.int64)))


def worked(x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.sin(x) * 1.1 + tf.reduce_sum(x, axis=-1, keepdims=True), y + 1


def scaled(*parts: Any) -> Any:
    return (parts[0] * 3.0, *parts[1:])


def branched(x: Any, y: Any) -> Any:
    """Control flow, a function of its own, an assertion and random operations without state."""
    import tensorflow as tf

    @tf.function
    def noise(seed: Any) -> Any:
        return tf.random.stateless_normal([3], [seed, 7])

    tf.debugging.assert_non_negative(y)
    if y % 2 == 0:
        x = x + noise(y)
    while tf.reduce_sum(x) < 5.0:
        x += 1.0
    return x, y


def sequences() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.range(22).map(lambda n: tf.range(n % 5 + 1)).padded_batch(BATCH, drop_remainder=True)


def encoded_images() -> Any:
    import tensorflow as tf

    with tf.init_scope():
        files = [tf.io.encode_png(np.full((2, 2, 1), n, np.uint8)).numpy() for n in range(22)]

    def read(file: Any) -> Any:
        image = tf.io.decode_png(file, channels=1)
        image.set_shape([2, 2, 1])
        return tf.cast(image, tf.float32) / 255.0

    return tf.data.Dataset.from_tensor_slices(files).map(read, num_parallel_calls=2).shuffle(9, seed=2).batch(BATCH)


def interleaved() -> Any:
    import tensorflow as tf

    parts = tf.data.Dataset.range(4).interleave(lambda n: tf.data.Dataset.range(6 * n, 6 * n + 5), cycle_length=2)
    return parts.map(lambda n: (tf.cast(n, tf.float32) * 1.1, n)).shuffle(6, seed=1).batch(BATCH)


def generated() -> Any:
    import tensorflow as tf

    def samples() -> Any:
        yield from ((np.full(3, n, np.float32), n) for n in range(22))

    spec = tf.TensorSpec([3], tf.float32), tf.TensorSpec([], tf.int64)
    return tf.data.Dataset.from_generator(samples, output_signature=spec).map(worked).batch(BATCH)


def augmented() -> Any:
    """A seed for each sample, which the dataset counts."""
    import tensorflow as tf

    def augment(sample: Any, number: Any) -> Any:
        return sample[0] + tf.random.stateless_uniform([3], [number, 1]), sample[1]

    seeds = tf.data.Dataset.random(seed=4, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip((numbers(), seeds)).map(augment).batch(BATCH)


POSTPONED: dict[str, Pipeline] = {
    "arrays": lambda: numbers().shuffle(22, seed=3).map(worked, num_parallel_calls=4).batch(BATCH).prefetch(2),
    "map before the shuffle": lambda: numbers().map(worked).shuffle(7).batch(BATCH),
    "map of batches": lambda: numbers().shuffle(9, seed=3).batch(BATCH, drop_remainder=True).map(worked),
    "map of batches that fill an epoch": lambda: numbers(24).shuffle(9).batch(BATCH).map(worked, num_parallel_calls=2),
    "maps on both sides": lambda: numbers().map(worked).shuffle(9).batch(BATCH, drop_remainder=True).map(scaled),
    "batches in another order": lambda: numbers().map(worked).batch(BATCH).shuffle(3, seed=1).prefetch(1),
    "batches in another order, then a map": lambda: numbers(24).batch(BATCH).shuffle(3, seed=1).map(worked),
    "a batch size of its own": lambda: numbers().map(worked).batch(3, drop_remainder=True),
    "repeated inside": lambda: numbers().map(worked).shuffle(5, seed=1).repeat(2).batch(BATCH),
    "shuffled apart from repeated": lambda: numbers().shuffle(9, seed=1).map(worked).repeat(2).batch(BATCH),
    "shuffled once": lambda: numbers().shuffle(9, seed=1, reshuffle_each_iteration=False).map(worked).batch(BATCH),
    "endless": lambda: numbers().map(worked).shuffle(9).batch(BATCH, drop_remainder=True).repeat(),
    "endless before the batch": lambda: numbers().shuffle(9).map(worked).repeat().batch(BATCH).map(scaled),
    "part of it": lambda: numbers().map(worked).skip(3).take(17).shard(2, 1).batch(BATCH, num_parallel_calls=2),
    "after a filter": lambda: numbers().filter(lambda _, y: y % 3 > 0).map(worked).batch(BATCH),
    "after a cache": lambda: numbers().map(worked).cache().map(worked).shuffle(5).batch(BATCH),
    "control flow": lambda: numbers().map(branched).batch(BATCH),
    "one part": lambda: numbers().map(lambda x, y: x).batch(BATCH),
    "named parts": lambda: numbers().map(lambda x, y: {"x": x * 2.0, "y": y}).batch(BATCH),
    "images": encoded_images,
    "interleave": interleaved,
    "generator": generated,
    "seeds": augmented,
    "padded": lambda: sequences().map(lambda tokens: tokens * 2),
}


def drawing() -> Any:
    import tensorflow as tf

    return numbers().map(lambda x, y: (x + tf.random.uniform([3], seed=5), y)).batch(BATCH)


def drawing_from_a_generator() -> Any:
    import tensorflow as tf

    source = tf.random.Generator.from_seed(1)
    return numbers().map(lambda x, y: (x + source.normal([3]), y)).batch(BATCH)


def in_python() -> Any:
    import tensorflow as tf

    def work(x: Any) -> Any:
        return x * 2

    def call(x: Any, y: Any) -> Any:
        x = tf.numpy_function(work, [x], tf.float32)
        x.set_shape([3])
        return x, y

    return numbers().map(call).batch(BATCH)


def looked_up() -> Any:
    import tensorflow as tf

    keys = tf.lookup.KeyValueTensorInitializer(np.arange(22, dtype=np.int64), np.arange(22, dtype=np.int64) * 2)
    table = tf.lookup.StaticHashTable(keys, -1)
    return numbers().map(lambda x, y: (x, table.lookup(y))).batch(BATCH)


def rows_left_out() -> Any:
    import tensorflow as tf

    return numbers(24).batch(BATCH).map(lambda x, y: (x[y % 2 == 0], tf.boolean_mask(y, y % 2 == 0)))


def rows_doubled() -> Any:
    import tensorflow as tf

    def double(x: Any, y: Any) -> Any:
        x, y = tf.concat([x, x], 0), tf.concat([y, y], 0)
        return x, y

    return numbers().batch(BATCH, drop_remainder=True).map(double)


AS_THEY_ARE: dict[str, Pipeline] = {
    "no map": lambda: numbers().shuffle(5).batch(BATCH),
    "random operation": drawing,
    "random generator": drawing_from_a_generator,
    "Python": in_python,
    "table": looked_up,
    "map of batches, of which the last is smaller": lambda: numbers().batch(BATCH).map(worked),
    "map of batches of another size": lambda: numbers(24).batch(3).map(worked),
    "rows left out": rows_left_out,
    "rows doubled": rows_doubled,
    "before a filter": lambda: numbers().map(worked).filter(lambda _, y: y % 3 > 0).batch(BATCH),
    "before a cache": lambda: numbers().map(worked).cache().shuffle(5).batch(BATCH),
    "before errors are ignored": lambda: numbers().map(worked).ignore_errors().batch(BATCH),
    "before padding": lambda: numbers().map(worked).padded_batch(BATCH),
    "unbatched again": lambda: numbers(24).map(worked).batch(6).unbatch().batch(BATCH),
}
