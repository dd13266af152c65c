"""Jobs that end their process: after some batches, every time; or by taking all the memory there is."""

from tests.integration.jobs_under_test.exact import Exact


class Doomed(Exact):
    class Params(Exact.Params):
        after: int = 20
        """Batches."""

    def train_dataset(self, context):
        return super().train_dataset(context).repeat().map(self._counting())

    def _counting(self):
        import tensorflow as tf

        left = [self.params.after]

        def count(x):
            left[0] -= 1
            if left[0] < 0:
                self.end()
            return x

        return lambda x, y: (tf.ensure_shape(tf.numpy_function(count, [x], tf.float32), x.shape), y)

    def end(self):
        import os

        os._exit(7)


class Devouring(Doomed):
    def end(self):
        self.eaten = [bytearray(1 << 24)]
        while True:
            self.eaten.append(bytearray(b"x" * (1 << 24)))
