"""An error of each of TensorFlow's kinds, raised by the job's own code while it trains; `where` says in what."""

from error_kind_names import TENSORFLOW, WORDS
from exact import Exact

AT = 9
"""The batch of the stream at which it is raised, which is one worker's alone."""
PYTHON = (ValueError, TypeError, KeyError, StopIteration, MemoryError)


class ErrorKinds(Exact):
    class Params(Exact.Params):
        kind: str = "Aborted"
        where: str = "data"

    def _error(self):
        import tensorflow as tf

        kind = self.params.kind
        if kind in TENSORFLOW:
            return getattr(tf.errors, f"{kind}Error")(None, None, WORDS)
        return next(one for one in PYTHON if one.__name__ == kind)(WORDS)

    def _raise(self, n):
        if n == AT:
            raise self._error()
        return n

    def _checked(self, n, value):
        import tensorflow as tf

        with tf.control_dependencies([tf.py_function(self._raise, [n], tf.int64)]):
            return tf.ensure_shape(tf.identity(value), value.shape)

    def _by_operation(self, n, value):
        import tensorflow as tf

        def fail():
            match self.params.kind:
                case "DataLoss":
                    return tf.strings.length(tf.io.decode_compressed(b"no such stream", "GZIP"))
                case "FailedPrecondition":
                    return tf.strings.length(tf.io.read_file("/proc"))
                case "InvalidArgument":
                    return tf.gather([1.0, 2.0], tf.cast(n, tf.int32) + 10)
                case "NotFound":
                    return tf.strings.length(tf.io.read_file("/no/such/file"))
                case "ResourceExhausted":
                    return tf.reduce_sum(tf.zeros([tf.cast(n, tf.int32) * 10**8, 10**6]))

        spoilt = tf.cond(n == AT, lambda: tf.cast(fail(), tf.float32), lambda: 0.0)
        return tf.ensure_shape(value + 0 * spoilt, value.shape)

    def train_dataset(self, context):
        dataset = super().train_dataset(context).enumerate()
        match self.params.where:
            case "data":
                return dataset.map(lambda n, batch: (self._checked(n, batch[0]), batch[1]))
            case "operation":
                return dataset.map(lambda n, batch: (self._by_operation(n, batch[0]), batch[1]))
            case "step":
                return dataset.map(lambda n, batch: ((batch[0], repeated(n, batch[1])), batch[1]))
            case _:
                return super().train_dataset(context)

    def eval_dataset(self, context):
        dataset = super().train_dataset(context).take(2)
        return dataset.map(lambda x, y: ((x, repeated(0, y)), y)) if self.params.where == "step" else dataset

    def build_model(self):
        import keras

        raising = self._checked

        class Raising(keras.layers.Layer):
            def call(self, x, n):
                return raising(n[0], x)

        x, n = keras.Input((16,)), keras.Input((), dtype="int64")
        if self.params.where == "step":
            model = keras.Model([x, n], keras.layers.Dense(1)(Raising()(x, n)))
        else:
            model = keras.Model(x, keras.layers.Dense(1)(x))
        model.compile("sgd", "mse")
        return model

    def callbacks(self):
        import keras

        def fail(epoch, logs):
            raise self._error()

        return [keras.callbacks.LambdaCallback(on_epoch_begin=fail)] if self.params.where == "callback" else []


def repeated(number, y):
    """A number for each row of `y`."""
    import tensorflow as tf

    return tf.repeat(tf.cast(number, tf.int64), tf.shape(y)[0])
