"""A job whose weights count how often each sample was trained on: w[i] grows by one with every look at sample i."""

from pathlib import Path

from jobs.api import Job


class Counting(Job):
    class Params(Job.Params):
        rows: int = 96
        step: float = 1.0
        """The learning rate: samples of one update, so that the mean over them becomes a count."""
        how: str = "plain"
        files: str = ""

    def build_model(self):
        import keras

        class Counter(keras.layers.Layer):
            def __init__(self, rows):
                super().__init__()
                self.rows = rows

            def build(self, _):
                self.count = self.add_weight(shape=(self.rows, 1), initializer="zeros", name="count")

            def call(self, ids):
                return -keras.ops.take(self.count, ids, axis=0)

        model = keras.Sequential([keras.Input((), dtype="int32"), Counter(self.params.rows)])
        model.compile(optimizer=keras.optimizers.SGD(self.params.step), loss=lambda _, p: keras.ops.mean(p))
        return model

    def train_dataset(self, context):
        import tensorflow as tf

        if self.params.how == "files":
            files = sorted(str(path) for path in Path(self.params.files).iterdir())
            ids = tf.data.TextLineDataset(files).map(lambda line: tf.strings.to_number(line, tf.int32))
        else:
            ids = tf.data.Dataset.range(self.params.rows, output_type=tf.int32)
        if self.params.how == "context":
            ids = context.shard(ids)
        if self.params.how in ("context", "unseeded"):
            ids = ids.shuffle(self.params.rows)
        return ids.batch(context.batch_size).map(lambda i: (i, tf.zeros((tf.shape(i)[0], 1))))

    def eval_dataset(self, context):
        return self.train_dataset(context).take(1)
