"""`linear`: a line fitted to five points, whose best fit is known in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from jobs.api import DataContext, Job

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

X = (1.0, 2.0, 3.0, 6.0, 8.0)
Y = (4.8, 8.5, 10.4, 21.0, 25.3)


class Linear(Job):
    """y = W x + b by gradient descent on the sum of squared errors of all five points.

    The least-squares solution is W = 101.4 / 34 = 2.98235, b = 14 - 4 W = 2.07059, with the loss 2.12941.
    """

    class Params(Job.Params):
        learning_rate: float = Field(0.001, gt=0, description="SGD's step size; diverges above 0.0085")

    # Every batch holds all five points, on every replica: 100,000 samples are 10,000 steps of two workers.
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": len(X), "samples": 100_000}

    def build_model(self) -> keras.Model:
        import keras

        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="line")])
        model.compile(optimizer=keras.optimizers.SGD(self.params.learning_rate), loss=sum_of_squares)
        return model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        return _points().batch(context.batch_size)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        return _points().batch(len(X))


def sum_of_squares(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Loss per sample: its squared error times the batch size, so that the mean over the batch equals the sum.

    In sync every replica has all five points, so the mean over the replicas is that sum as well. Keras' own
    `reduction="sum"` would sum over the points of all replicas (docs/exactness.md).
    """
    import keras

    count = keras.ops.cast(keras.ops.shape(y_pred)[0], y_pred.dtype)
    return count * keras.ops.sum(keras.ops.square(y_true - y_pred), axis=-1)


def _points() -> tf.data.Dataset:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(([[x] for x in X], [[y] for y in Y]))
