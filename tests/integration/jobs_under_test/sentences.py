"""Sentences of different lengths, in batches as long as their longest: 1,000, which no batch size divides."""

from jobs.api import Job

TRAINED = ("padded", "cached")
REFUSED = ("bucket", "mapped")
LATE = 400
"""With `late`, sentences from this one on vary in length."""


class Sentences(Job):
    class Params(Job.Params):
        how: str = "padded"

    def build_model(self):
        import keras

        model = keras.Sequential(
            [
                keras.Input((None,), dtype="int32"),
                keras.layers.Embedding(100, 8, mask_zero=True),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def train_dataset(self, context):
        return self._set(1000, context)

    def eval_dataset(self, context):
        return self._set(100, context)

    def _set(self, count, context):
        import numpy as np
        import tensorflow as tf

        def sentences():
            random = np.random.default_rng(1)
            for number in range(count):
                length = 5 if self.params.how == "late" and number < LATE else int(random.integers(3, 30))
                words = random.integers(1, 100, size=length).astype("int32")
                yield words, np.int32((words > 50).mean() > 0.5)

        kinds = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32))
        each = tf.data.Dataset.from_generator(sentences, output_signature=kinds)
        size = context.batch_size
        match self.params.how:
            case "bucket":
                return each.bucket_by_sequence_length(lambda words, _: tf.shape(words)[0], [10, 20], [size] * 3)
            case "mapped" | "late":
                return each.padded_batch(size).map(lambda words, label: (words % 100, label))
            case "cached":
                return each.padded_batch(size).cache().prefetch(2)
            case _:
                return each.padded_batch(size)
