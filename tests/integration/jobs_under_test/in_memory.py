"""A job whose data are arrays in memory, put into its dataset in each of the ways there are."""

from typing import Literal

from jobs.api import Job


class InMemory(Job):
    class Params(Job.Params):
        way: Literal["slices", "tensors", "gathered", "constant", "dictionary"] = "slices"
        megabytes: int = 8

    def build_model(self):
        import keras

        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
        return model

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        rows = self.params.megabytes * (1 << 20) // (64 * 4)
        x = np.resize(np.random.default_rng(0).standard_normal((8192, 64), "float32"), (rows, 64))
        y = x[:, :1].copy()
        match self.params.way:
            case "slices":
                dataset = tf.data.Dataset.from_tensor_slices((x, y))
            case "dictionary":
                dataset = tf.data.Dataset.from_tensor_slices({"x": x, "y": y}).map(lambda row: (row["x"], row["y"]))
            case "tensors":
                dataset = tf.data.Dataset.from_tensors((x, y)).unbatch()
            case "gathered":
                dataset = tf.data.Dataset.range(rows).map(lambda i: (tf.gather(x, i), tf.gather(y, i)))
            case "constant":
                whole = tf.constant(x)
                dataset = tf.data.Dataset.range(rows).map(lambda i: (whole[i], whole[i, :1]))
        return dataset.batch(context.batch_size, drop_remainder=True)

    def eval_dataset(self, context):
        import tensorflow as tf

        return tf.data.Dataset.from_tensors((tf.ones((8, 64)), tf.ones((8, 1))))
