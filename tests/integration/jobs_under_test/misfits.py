"""Data and models that do not go together, and files that cannot be read."""

from pathlib import Path

from exact import Exact


class WrongShape(Exact):
    """Rows of 8 numbers for a model that takes 16."""

    def train_dataset(self, context):
        return super().train_dataset(context).map(lambda x, y: (x[:, :8], y))


class Labels(Exact):
    """Ten classes; one label of 12."""

    def build_model(self):
        import keras

        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(10, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    def train_dataset(self, context):
        import tensorflow as tf

        return super().train_dataset(context).map(lambda x, y: (x, tf.ones_like(y, tf.int32) * 12))

    def eval_dataset(self, context):
        import tensorflow as tf

        return super().train_dataset(context).take(1).map(lambda x, y: (x, tf.ones_like(y, tf.int32)))


class NoLoss(Exact):
    def build_model(self):
        import keras

        class Silent(keras.Sequential):
            def train_step(self, data):
                super().train_step(data)

        model = Silent([keras.Input((16,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model


class Files(Exact):
    """`kind`: read by `ours`, Regatta's loader, or by `tf`, TensorFlow's own reader."""

    class Params(Exact.Params):
        path: str
        kind: str = "ours"

    def train_dataset(self, context):
        import tensorflow as tf

        from jobs.data import tfrecord

        schema = {"x": tf.io.FixedLenFeature([16], tf.float32)}

        def make(features):
            return features["x"], tf.reduce_sum(features["x"], keepdims=True)

        if self.params.kind == "ours":
            samples = tfrecord.examples([Path(self.params.path)], schema, make)
        else:
            raw = tf.data.TFRecordDataset([self.params.path])
            samples = raw.map(lambda record: make(tf.io.parse_single_example(record, schema)))
        return samples.batch(context.batch_size)

    def eval_dataset(self, context):
        return super().train_dataset(context).take(1)
