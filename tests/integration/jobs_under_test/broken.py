"""Jobs that are wrong, each in one way a user's could be."""

from exact import Exact


class RaisesInModel(Exact):
    def build_model(self):
        raise RuntimeError("no such layer in this house")


class RaisesInTraining(Exact):
    def train_dataset(self, context):
        import tensorflow as tf

        def read(x, y):
            return tf.numpy_function(explode, [x], tf.float32), y

        dataset = super().train_dataset(context)
        return dataset.map(lambda x, y: (tf.ensure_shape(read(x, y)[0], x.shape), y))


def explode(array):
    raise OSError("the disk with the data went away")


class NotCompiled(Exact):
    def build_model(self):
        import keras

        return keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])


class Empty(Exact):
    def train_dataset(self, context):
        return super().train_dataset(context).take(0)


class NotBatched(Exact):
    def train_dataset(self, context):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices({"x": [1.0, 2.0], "y": [3.0, 4.0]}).map(lambda d: (d["x"], d["y"]))
