"""A regression whose every batch takes its time to come: the step is not what is slow."""

from tests.integration.jobs_under_test.exact import Exact


class Hungry(Exact):
    class Params(Exact.Params):
        milliseconds: float = 20.0

    def train_dataset(self, context):
        from tensorflow.python.data.experimental.ops import testing

        return super().train_dataset(context).apply(testing.sleep(int(1000 * self.params.milliseconds)))
