"""A job with everything random that a checkpoint has to bring back: order, augmentation, dropout, schedules."""

from jobs.api import Job


class RandomParts(Job):
    class Params(Job.Params):
        rows: int = 200
        seeded: bool = True
        """Whether the shuffle is given a seed, or draws its own."""
        schedule: bool = True
        called: bool = False

    def build_model(self):
        import keras

        rate = 0.01
        if self.params.schedule:
            rate = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=10, decay_rate=0.9)
        layers = [
            keras.layers.Dense(24, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
        ]
        model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
        return model

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        random = np.random.default_rng(7)
        x = random.normal(size=(self.params.rows, 8)).astype("float32")
        y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
        dataset = context.shard(tf.data.Dataset.from_tensor_slices((x, y)))
        dataset = dataset.shuffle(self.params.rows, seed=context.seed if self.params.seeded else None)

        def noisy(x, y):
            return x + 0.1 * tf.random.normal(tf.shape(x), seed=3), y

        return dataset.map(noisy).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)

    def callbacks(self):
        import keras

        if not self.params.called:
            return []
        # The rate falls with every epoch that is not better by far, and by a tenth at the beginning of each.
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=0.3),
            keras.callbacks.CSVLogger("log.csv"),
            keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=5),
        ]
