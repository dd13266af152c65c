"""One small regression, with one feature of Keras at a time; `kind` says which."""

from functools import partial

from jobs.api import Job


class Features(Job):
    class Params(Job.Params):
        kind: str = "dropout"

    def build_model(self):
        import keras

        built = BUILDERS[self.params.kind](keras)
        return built if isinstance(built, keras.Model) else compiled(keras, built)

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        x = np.random.default_rng(1).normal(size=(1024, 8)).astype("float32")
        y = x @ np.arange(1, 9, dtype="float32")[:, None] / 8
        if self.params.kind == "auc":
            y = (y > 0).astype("float32")
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(context.batch_size)
        lacking = {
            "no_targets": lambda x, _: x,
            "none": lambda x, _: (x, None),
            "ragged": lambda x, y: (tf.RaggedTensor.from_tensor(x), y),
            "other_names": lambda x, y: (x, {"c": y}),
        }
        return dataset.map(lacking[self.params.kind]) if self.params.kind in lacking else dataset

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def compiled(keras, layer, optimizer=None, **options):
    layers = [keras.Input((8,)), keras.layers.Dense(8, activation="tanh"), layer, keras.layers.Dense(1)]
    model = keras.Sequential([one for one in layers if one is not None])
    model.compile(optimizer or keras.optimizers.Adam(0.05), **({"loss": "mse"} | options))
    return model


def batch_norm(keras):
    return keras.layers.BatchNormalization()


def dropout(keras):
    return keras.layers.Dropout(0.4, seed=5)


def combined_loss(keras):
    def spread(y, predicted):
        return keras.ops.square(keras.ops.std(y - predicted)) + keras.ops.mean(keras.ops.square(y - predicted))

    return compiled(keras, None, loss=spread)


def auc(keras):
    return compiled(keras, None, loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=[keras.metrics.AUC()])


def eager(keras):
    return compiled(keras, None, run_eagerly=True)


BUILDERS = {
    "batch_norm": batch_norm,
    "dropout": dropout,
    "combined_loss": combined_loss,
    "auc": auc,
    "eager": eager,
    "no_targets": lambda keras: None,
}


def holding(keras, delegates):
    """An optimizer that holds another one: it hands each update on (`apply`), or each variable (`update_step`)."""

    class Slow(keras.optimizers.Optimizer):
        def __init__(self, inner, **options):
            super().__init__(learning_rate=0.05, **options)
            self.inner = inner

        def build(self, variables):
            if self.built:
                return
            super().build(variables)
            if delegates != "lazily":
                self.inner.build(variables)
            self.slow = self.add_optimizer_variables(variables, "slow")

        def update_step(self, gradient, variable, learning_rate):
            slow = self.slow[self._get_variable_index(variable)]
            self.assign(slow, 0.9 * slow + 0.1 * gradient)
            self.inner.update_step(slow, variable, learning_rate)

        def get_config(self):
            return {}

    class Handing(Slow):
        def apply(self, grads, trainable_variables=None):
            self.inner.apply(grads, trainable_variables)
            self.iterations.assign_add(1)

    kind = Slow if delegates == "update_step" else Handing
    inner = keras.optimizers.Adam(0.05) if delegates != "scaled" else keras.optimizers.SGD(0.05, momentum=0.9)
    optimizer = kind(inner)
    return compiled(keras, None, keras.optimizers.LossScaleOptimizer(optimizer) if delegates == "scaled" else optimizer)


def kept(keras, where):
    """A layer that counts its calls in training, in a variable that Keras does not know."""
    import tensorflow as tf

    class Counting(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            match where:
                case "attribute":
                    self.calls = tf.Variable(0.0, trainable=False, name="calls")
                case "list":
                    self.calls = [tf.Variable(0.0, trainable=False, name="calls")]
                case "module":
                    self.calls = tf.Module()
                    self.calls.count = tf.Variable(0.0, trainable=False, name="calls")
                case "constant":
                    self.calls = tf.Variable(1.0, trainable=False, name="calls")
                case "untracked":
                    vars(self)["calls"] = {"all": keras.Variable(0.0, trainable=False, name="calls")}
                case "generator":
                    self.calls = tf.random.Generator.from_seed(1)
                case "table":
                    self.calls = tf.lookup.experimental.MutableHashTable(tf.int32, tf.float32, 0.0)

        def call(self, x):
            match where:
                case "attribute":
                    self.calls.assign_add(1.0)
                    return x + 0.01 * self.calls
                case "list":
                    self.calls[0].assign_add(1.0)
                    return x + 0.01 * self.calls[0]
                case "module":
                    self.calls.count.assign_add(1.0)
                    return x + 0.01 * self.calls.count
                case "constant":
                    return x + 0.01 * self.calls
                case "untracked":
                    self.calls["all"].assign_add(1.0)
                    return x + 0.01 * self.calls["all"]
                case "generator":
                    return x + 0.1 * tf.reshape(self.calls.normal([8]), [8])
                case "table":
                    self.calls.insert(tf.constant([1]), tf.constant([1.0]))
                    return x

        def compute_output_shape(self, shape):
            return shape

    return Counting()


def metric_in_a_layer(keras):
    class Measured(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.size = keras.metrics.Mean(name="size")

        def call(self, x):
            self.size.update_state(x)
            return x

    return Measured()


def vocabulary(keras):
    """Words looked up in a constant table, in the model."""
    import tensorflow as tf

    words = keras.layers.IntegerLookup(vocabulary=[0, 1, 2, 3])

    class Looked(keras.layers.Layer):
        def build(self, shape):
            self.embedding = self.add_weight(shape=(8, 8), name="embedding")

        def call(self, x):
            return x + tf.gather(self.embedding.value, words(tf.cast(tf.abs(x[:, 0]) * 4, tf.int64)))

        def compute_output_shape(self, shape):
            return shape

    return Looked()


def ragged(keras):
    import tensorflow as tf

    class Total(keras.layers.Layer):
        def call(self, x):
            return tf.reduce_sum(x, axis=1, keepdims=True)

        def compute_output_shape(self, shape):
            return (shape[0], 1)

    model = keras.Sequential([keras.Input((None,), ragged=True), Total(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def critic(keras):
    """A part of the model that an optimizer of its own updates three times in each step, as in a WGAN."""
    import tensorflow as tf

    class Critic(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)
            self.often = keras.optimizers.Adam(0.02)

        def call(self, x):
            return self.head(self.body(x))

        def train_step(self, data):
            for optimizer, part in [*[(self.often, self.body)] * 3, (self.optimizer, self.head)]:
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(self(data[0], training=True) - data[1]))
                optimizer.apply(tape.gradient(loss, part.trainable_variables), part.trainable_variables)
            return {"loss": loss}

    model = Critic()
    model.compile(keras.optimizers.Adam(0.02), "mse")
    return model


KEPT = ("attribute", "list", "module", "constant", "untracked", "generator", "table")
HOLDING = ("apply", "update_step", "lazily", "scaled")
TARGETS = {
    "no_targets": "the dataset has no targets for it",
    "none": "has None as a part of its elements",
    "fewer": "targets of the dataset do not go with the model's outputs",
    "other_names": "targets of the dataset do not go with the model's outputs",
    "no_loss": "without a loss, and no layer adds one",
}
"""What is wrong, and what the refusal says."""


def two_outputs(keras, which):
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(4)(inputs)
    outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in ("a", "b")}
    model = keras.Model(inputs, outputs if which == "other_names" else list(outputs.values()))
    model.compile("sgd", {"a": "mse", "b": "mse"} if which == "other_names" else ["mse", "mse"])
    return model


BUILDERS |= {
    **{f"kept_{where}": partial(kept, where=where) for where in KEPT},
    **{f"holding_{delegates}": partial(holding, delegates=delegates) for delegates in HOLDING},
    "metric_in_a_layer": metric_in_a_layer,
    "vocabulary": vocabulary,
    "critic": critic,
    "ragged": ragged,
    "none": lambda keras: None,
    "fewer": partial(two_outputs, which="fewer"),
    "other_names": partial(two_outputs, which="other_names"),
    "no_loss": lambda keras: compiled(keras, None, loss=None),
}
