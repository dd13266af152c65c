"""A job whose training waits for its input: a map of each batch takes 5 ms, as if it asked a slow storage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from jobs.api import DataContext
from jobs.digits import Digits

if TYPE_CHECKING:
    import tensorflow as tf

SECONDS = 0.005


class WaitingInput(Digits):
    """`digits`, as most jobs are written: it does not shard its data."""

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        import numpy as np
        import tensorflow as tf

        from jobs.data import digits

        def wait(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            time.sleep(SECONDS)
            return labels

        def slow(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Declared to depend on its input alone, which is not assumed of Python functions.
            waited = tf.numpy_function(wait, [y], y.dtype, stateful=False)
            return x, tf.reshape(waited, tf.shape(y))

        data = digits.load()
        samples = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
        shuffled = samples.shuffle(len(data.y_train), seed=context.seed)
        return shuffled.batch(context.batch_size, drop_remainder=True).map(slow)
