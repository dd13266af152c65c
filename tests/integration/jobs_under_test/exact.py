"""A job whose every sample is known: for tests that compare training runs number by number."""

from jobs.api import Job


class Exact(Job):
    """Dense regression on 4,096 fixed samples in a fixed order."""

    class Params(Job.Params):
        units: int = 32
        schedule: bool = False
        rows: int = 4096
        sgd: bool = False

    def build_model(self):
        import keras

        rate = 0.01
        if self.params.schedule:
            rate = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=10, decay_rate=0.9)
        model = keras.Sequential(
            [keras.Input((16,)), keras.layers.Dense(self.params.units, activation="tanh"), keras.layers.Dense(1)]
        )
        optimizer = keras.optimizers.SGD(rate) if self.params.sgd else keras.optimizers.Adam(rate)
        model.compile(optimizer=optimizer, loss="mse", metrics=["mae"])
        return model

    def _arrays(self):
        import numpy as np

        random = np.random.default_rng(7)
        x = random.normal(size=(self.params.rows, 16)).astype("float32")
        y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
        return x, y

    def train_dataset(self, context):
        import tensorflow as tf

        # Cut into batches beforehand: reading them costs next to nothing, so that tests measure training.
        batches = [array.reshape(-1, context.batch_size, array.shape[1]) for array in self._arrays()]
        return tf.data.Dataset.from_tensor_slices(tuple(batches))

    def eval_dataset(self, context):
        return self.train_dataset(context).take(4)
