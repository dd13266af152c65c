"""An error of each of TensorFlow's kinds, raised by the job's own code while it trains: in its data, or in its step."""

from exact import Exact

WORDS = "my ledger has no such entry"
AT = 9
"""The batch of the stream at which it is raised, which is one worker's alone."""
TENSORFLOW = (
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
)
PYTHON = (ValueError, TypeError, KeyError, RuntimeError, ConnectionResetError, TimeoutError, StopIteration, MemoryError)
KINDS = (*TENSORFLOW, *(kind.__name__ for kind in PYTHON))


class ErrorKinds(Exact):
    class Params(Exact.Params):
        kind: str = "Aborted"
        where: str = "data"

    def _raise(self, n):
        import tensorflow as tf

        kind = self.params.kind
        if n != AT:
            return n
        if kind in TENSORFLOW:
            raise getattr(tf.errors, f"{kind}Error")(None, None, WORDS)
        raise next(one for one in PYTHON if one.__name__ == kind)(WORDS)

    def _checked(self, n, value):
        import tensorflow as tf

        with tf.control_dependencies([tf.py_function(self._raise, [n], tf.int64)]):
            return tf.ensure_shape(tf.identity(value), value.shape)

    def train_dataset(self, context):
        dataset = super().train_dataset(context).enumerate()
        if self.params.where == "data":
            return dataset.map(lambda n, batch: (self._checked(n, batch[0]), batch[1]))
        return dataset.map(lambda n, batch: ((batch[0], n + 0 * tf_long(batch[1][:, 0])), batch[1]))

    def eval_dataset(self, context):
        return super().train_dataset(context).take(2).map(lambda x, y: (x, y) if self.params.where == "data" else ((x, tf_long(y[:, 0] * 0)), y))

    def build_model(self):
        import keras

        raising = self._checked

        class Raising(keras.layers.Layer):
            def call(self, x, n):
                return raising(n[0], x)

        x, n = keras.Input((16,)), keras.Input((), dtype="int64")
        if self.params.where == "data":
            model = keras.Model(x, keras.layers.Dense(1)(x))
        else:
            model = keras.Model([x, n], keras.layers.Dense(1)(Raising()(x, n)))
        model.compile("sgd", "mse")
        return model


def tf_long(values):
    import tensorflow as tf

    return tf.cast(values * 0, tf.int64)
