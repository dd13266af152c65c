"""Models with sparse gradients: looked up row by row, or each row once; of fixed and of varying numbers of rows."""

from jobs.api import Job

KINDS = (
    "rows",
    "positions",
    "shared_table",
    "each_row_once",
    "two_tables",
    "varying_rows",
    "varying_each_once",
    "varying_positions",
)


class Sparse(Job):
    class Params(Job.Params):
        kind: str = "rows"
        optimizer: str = "adam"

    def build_model(self):
        import keras

        model = MODELS.get(self.params.kind, rows)(self.params.kind)
        chosen = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW}
        model.compile(optimizer=chosen[self.params.optimizer](0.05), loss="mse")
        return model

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        random = np.random.default_rng(1)
        ids = random.integers(1, 20, size=(1024, 6)).astype("int32")
        y = np.sin(ids.sum(axis=1, keepdims=True)).astype("float32")
        dataset = tf.data.Dataset.from_tensor_slices((ids, y))
        if self.params.kind.startswith("varying"):
            # The batch's longest sentence, of 3 to 6 words: as `padded_batch` does.
            return dataset.map(lambda x, y: (x[: 3 + x[0] % 4], y)).padded_batch(context.batch_size)
        return dataset.batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def rows(kind):
    import keras

    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(20, 4, mask_zero=True),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )


def shared_table(kind):
    import keras

    ids = keras.Input((None,), dtype="int32")
    table = keras.layers.Embedding(20, 4)
    one = keras.layers.GlobalAveragePooling1D()(table(ids))
    other = keras.layers.GlobalMaxPooling1D()(table(ids[:, ::2]))
    return keras.Model(ids, keras.layers.Dense(1)(keras.layers.concatenate([one, other])))


def each_row_once(kind):
    import keras
    import tensorflow as tf

    class Bag(keras.layers.Layer):
        """Looks each distinct word of the batch up once, as `tf.nn.embedding_lookup_sparse` does."""

        def build(self, shape):
            self.table = self.add_weight(shape=(20, 4), name="table")

        def call(self, ids):
            words = tf.sparse.from_dense(ids)
            return tf.nn.embedding_lookup_sparse(self.table.value, words, None, combiner="mean")

        def compute_output_shape(self, shape):
            return (shape[0], 4)

    return keras.Sequential([keras.Input((None,), dtype="int32"), Bag(), keras.layers.Dense(1)])


def positions(kind):
    """As Keras' examples of transformers do."""
    import keras

    class TokenAndPosition(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.words, self.places = keras.layers.Embedding(20, 4), keras.layers.Embedding(6, 4)

        def build(self, shape):
            self.words.build(shape)
            self.places.build(shape)

        def call(self, ids):
            return self.words(ids) + self.places(keras.ops.arange(keras.ops.shape(ids)[-1]))

        def compute_output_shape(self, shape):
            return (*shape, 4)

    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            TokenAndPosition(),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(1),
        ]
    )


def two_tables(kind):
    import keras

    ids = keras.Input((None,), dtype="int32")
    pooled = [keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(ids)) for _ in range(2)]
    return keras.Model(ids, keras.layers.Dense(1)(keras.layers.multiply(pooled)))


def both_ways(kind):
    """A table looked up by word, and by distinct word."""
    import keras
    import tensorflow as tf

    class Both(keras.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(20, 4), name="table")

        def call(self, ids):
            table = self.table.value
            distinct, positions = tf.unique(tf.reshape(ids, [-1]))
            other = tf.reshape(tf.gather(tf.gather(table, distinct), positions), [-1, 6, 4])
            return tf.reduce_mean(tf.gather(table, ids), 1) + tf.reduce_mean(other, 1)

        def compute_output_shape(self, shape):
            return (shape[0], 4)

    return keras.Sequential([keras.Input((6,), dtype="int32"), Both(), keras.layers.Dense(1)])


MODELS = {
    "both_ways": both_ways,
    "shared_table": shared_table,
    "each_row_once": each_row_once,
    "varying_each_once": each_row_once,
    "two_tables": two_tables,
    "positions": positions,
    "varying_positions": positions,
}
