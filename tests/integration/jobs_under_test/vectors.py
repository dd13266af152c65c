"""Three classes, with metrics that are vectors or matrices; `metric` says which."""

import keras
import numpy as np

from jobs.api import Job


@keras.saving.register_keras_serializable()
class Confusion(keras.metrics.Metric):
    """A matrix of classes by predicted classes."""

    def __init__(self, classes=3, name="confusion", **options):
        super().__init__(name=name, **options)
        self.classes = classes
        self.total = self.add_variable((classes, classes), "zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        true = keras.ops.cast(y_true, "float32")
        predicted = keras.ops.one_hot(keras.ops.argmax(y_pred, -1), 3)
        padding = ((0, self.classes - 3), (0, self.classes - 3))
        self.total.assign_add(keras.ops.pad(keras.ops.matmul(keras.ops.transpose(true), predicted), padding))

    def result(self):
        return self.total


class Right(keras.metrics.Metric):
    """The number of samples that were classified rightly, as the variable itself."""

    def __init__(self, **options):
        super().__init__(name="right", **options)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        right = keras.ops.equal(keras.ops.argmax(y_true, -1), keras.ops.argmax(y_pred, -1))
        self.total.assign_add(keras.ops.sum(keras.ops.cast(right, "float32")))

    def result(self):
        return self.total


class Vectors(Job):
    class Params(Job.Params):
        metric: str = "f1"

    def build_model(self):
        metrics = {
            "f1": lambda: [keras.metrics.F1Score(average=None)],
            "two": lambda: [keras.metrics.F1Score(average=None), keras.metrics.FBetaScore(name="f1_score_1")],
            "matrix": lambda: [Confusion()],
            "variable": lambda: [Right()],
            "large": lambda: [Confusion(20)],
        }
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy", *metrics[self.params.metric]()])
        return model

    def _dataset(self, rows, seed, context):
        import tensorflow as tf

        x = np.random.default_rng(seed).normal(size=(rows, 8)).astype("float32")
        y = np.eye(3, dtype="float32")[x[:, :3].argmax(1)]
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(context.batch_size)

    def train_dataset(self, context):
        return self._dataset(512, 1, context)

    def eval_dataset(self, context):
        return self._dataset(256, 2, context)

    def callbacks(self):
        return [keras.callbacks.CSVLogger("log.csv"), keras.callbacks.EarlyStopping("val_loss", patience=99)]
