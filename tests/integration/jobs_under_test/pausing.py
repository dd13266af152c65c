"""A regression whose callback pauses after every epoch, and whose epochs are validated."""

from jobs.api import Job

ROWS = 512


class Pausing(Job):
    class Params(Job.Params):
        pause: float = 0.4
        """Seconds."""

    validate_each_epoch = True

    def build_model(self):
        import keras

        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(0.02), loss="mse")
        return model

    def callbacks(self):
        import time

        import keras

        class Pause(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                assert "val_loss" in logs
                time.sleep(pause)

        pause = self.params.pause
        return [Pause()]

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        random = np.random.default_rng(7)
        x = random.normal(size=(ROWS, 8)).astype("float32")
        y = x.sum(axis=1, keepdims=True)
        return context.shard(tf.data.Dataset.from_tensor_slices((x, y))).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context)
