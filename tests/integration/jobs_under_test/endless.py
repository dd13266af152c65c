"""Exact, whose evaluation data never end; `how` says in which way."""

from exact import Exact


class EndlessEvaluation(Exact):
    class Params(Exact.Params):
        how: str = "repeat"
        rows: int = 512

    def eval_dataset(self, context):
        import tensorflow as tf

        batches = super().train_dataset(context)
        if self.params.how == "repeat":
            return batches.repeat()
        if self.params.how == "filter":  # tf.data does not know whether anything is left
            return batches.repeat().filter(lambda x, y: True)
        if self.params.how == "from_tensors":
            return tf.data.Dataset.zip(batches.take(1).repeat(), tf.data.Dataset.counter()).map(lambda pair, _: pair)
        if self.params.how == "interleaved":
            return batches.take(2).interleave(lambda x, y: tf.data.Dataset.from_tensors((x, y)).repeat())

        def forever():
            while True:
                yield from batches.as_numpy_iterator()

        return tf.data.Dataset.from_generator(forever, output_signature=batches.element_spec)

    def callbacks(self):
        import keras

        return [keras.callbacks.CSVLogger("log.csv"), keras.callbacks.EarlyStopping("val_loss", patience=99)]


class EndlessTraining(EndlessEvaluation):
    """A generator, whose epochs cannot be counted."""

    def train_dataset(self, context):
        return self.eval_dataset(context)
