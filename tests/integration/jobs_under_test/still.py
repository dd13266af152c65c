"""A model that learns nothing: its gradient at every step is known beforehand."""

from __future__ import annotations

import numpy as np

from jobs.api import DataContext, Job

FEATURES, SAMPLES = 8, 4096


def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    y = x @ np.linspace(0.2, 1.0, FEATURES, dtype=np.float32) + rng.normal(size=SAMPLES).astype(np.float32)
    return x, y[:, None]


class Still(Job):
    def build_model(self):
        import keras

        model = keras.Sequential(
            [keras.Input((FEATURES,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
        )
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
        return model

    def train_dataset(self, context: DataContext):
        import tensorflow as tf

        return (
            tf.data.Dataset.from_tensor_slices(samples()).shuffle(SAMPLES, seed=context.seed).batch(context.batch_size)
        )

    def eval_dataset(self, context: DataContext):
        return self.train_dataset(context).take(1)
