"""`digits`: handwritten digits with a small dense network; real data that ships with Regatta, trains in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from jobs.api import DataContext, Job
from jobs.data import digits

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Digits(Job):
    """A 64-128-10 ReLU classifier of the UCI optical digits, trained with Adam."""

    class Params(Job.Params):
        hidden: int = Field(128, gt=0, description="units in the hidden layer")
        learning_rate: float = Field(0.002, gt=0, description="Adam's step size")

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 32,
        "samples": 64_000,
        "target": "val_accuracy>=0.95",
    }

    def build_model(self) -> keras.Model:
        import keras

        model = keras.Sequential(
            [
                keras.Input((64,)),
                keras.layers.Dense(self.params.hidden, activation="relu"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(self.params.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        import tensorflow as tf

        data = digits.load()
        samples = context.shard(tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train)))
        shuffled = samples.shuffle(len(data.y_train), seed=context.seed, reshuffle_each_iteration=True)
        return shuffled.batch(context.batch_size)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        import tensorflow as tf

        data = digits.load()
        return tf.data.Dataset.from_tensor_slices((data.x_eval, data.y_eval)).batch(context.batch_size)
