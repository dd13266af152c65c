"""A small regression in the shape of public bug reports about optimizers, rates and metrics; `kind` says which."""

from collections import deque, namedtuple
from dataclasses import dataclass

from jobs.api import Job


class Reported(Job):
    class Params(Job.Params):
        kind: str = "by_layer"

    def build_model(self):
        return KINDS[self.params.kind]()

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        random = np.random.default_rng(1)
        x = random.normal(size=(1024, 8)).astype("float32")
        y = x @ np.arange(1, 9, dtype="float32")[:, None] / 8
        if self.params.kind.startswith("sparse_"):
            x = random.integers(1, 20, size=(1024, 6)).astype("int32")
            y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def compiled(optimizer, **options):
    import keras

    layers = [keras.Input((8,)), keras.layers.Dense(8, activation="tanh", name="body"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(optimizer, **({"loss": "mse"} | options))
    return model


def named(name, rate=0.05, **options):
    import keras

    return compiled(getattr(keras.optimizers, name)(rate, **options))


def by_layer(**averaged):
    """Keras' optimizer of optimizers, with one for each layer."""
    import keras

    adam, sgd = keras.optimizers.Adam(0.05, **averaged), keras.optimizers.SGD(0.02)
    return compiled(keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {".*body/.*": adam})))


def by_function():
    """The same, from a function that makes one for each variable."""
    import keras

    def chosen(variable):
        return keras.optimizers.Adam(0.05) if "body" in variable.path else keras.optimizers.SGD(0.05)

    return compiled(keras.optimizers.MultiOptimizer(chosen))


def loaded_scale():
    """Loss scaling in the middle of its growth."""
    import keras

    inner = keras.optimizers.Adam(0.05)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=10)
    model = compiled(optimizer)
    optimizer.build(model.trainable_variables)
    inner.iterations.assign(30)
    optimizer.step_counter.assign(7)
    optimizer.dynamic_scale.assign(32.0)
    return model


def loaded_multi():
    model = by_layer()
    model.optimizer.build(model.trainable_variables)
    for optimizer in (model.optimizer, *model.optimizer.optimizers):
        optimizer.iterations.assign(30)
    return model


def loaded_pair():
    """Two optimizers of one model that have counted differently."""
    model = pair(lambda a, b: {"a": a, "b": b}, lambda held: tuple(held.values()))
    model.build((None, 8))
    for layer, optimizer, count in zip((model.body, model.head), model.held.values(), (50, 5), strict=True):
        optimizer.build(layer.trainable_variables)
        optimizer.iterations.assign(count)
    return model


def warm_cosine():
    """A schedule in its warm-up, and a decay that leaves biases out."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(0.0, 15, warmup_target=0.1, warmup_steps=5)
    model = compiled(keras.optimizers.AdamW(schedule, weight_decay=0.01))
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)
    return model


@dataclass(slots=True)
class Slotted:
    body: object
    head: object


Named = namedtuple("Named", "body head")


def pair(keep, kept):
    """A model whose two layers have optimizers of their own, kept in what `keep` makes of them."""
    import keras
    import tensorflow as tf

    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)
            self.held = keep(keras.optimizers.Adam(0.02), keras.optimizers.SGD(0.05, momentum=0.9))

        def build(self, shape):
            self.body.build(shape)
            self.head.build((None, 8))
            self.built = True

        def call(self, x):
            return self.head(self.body(x))

        def train_step(self, data):
            with tf.GradientTape(persistent=True) as tape:
                loss = tf.reduce_mean(tf.square(self(data[0], training=True) - data[1]))
            for optimizer, layer in zip(kept(self.held), (self.body, self.head), strict=True):
                variables = layer.trainable_variables
                optimizer.apply(tape.gradient(loss, variables), variables)
            return {"loss": loss}

    model = Pair()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def words(tied=False, **options):
    """Embedded words; `tied`: the table is also the weights of a dense layer, as in language models."""
    import keras

    ids = keras.Input((6,), dtype="int32")
    table = keras.layers.Embedding(20, 4)

    class Logits(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.table = table

        def call(self, x):
            return keras.ops.matmul(x, keras.ops.transpose(self.table.embeddings))

        def compute_output_shape(self, shape):
            return (shape[0], 20)

    x = keras.layers.GlobalAveragePooling1D()(table(ids))
    model = keras.Model(ids, keras.layers.Dense(1)(Logits()(x) if tied else x))
    model.compile(keras.optimizers.Adam(0.05, **options), "mse")
    return model


def several_numbers():
    """A metric whose result is a dict, and one that is a vector of errors by output."""
    import keras

    class Range(keras.metrics.Metric):
        def __init__(self, **options):
            super().__init__(name="range", **options)
            self.low, self.high = self.add_variable((), "zeros"), self.add_variable((), "zeros")

        def update_state(self, y, predicted, sample_weight=None):
            self.low.assign(keras.ops.min(predicted))
            self.high.assign(keras.ops.max(predicted))

        def result(self):
            return {"low": self.low.value, "high": self.high.value}

    return compiled("sgd", metrics=[Range(), keras.metrics.R2Score(class_aggregation=None)])


KINDS = {
    "by_layer": by_layer,
    "by_layer_averaged": lambda: by_layer(use_ema=True, ema_momentum=0.9),
    "by_function": by_function,
    "muon": lambda: named("Muon"),
    "schedule_free": lambda: named("ScheduleFreeAdamW"),
    "loaded_scale": loaded_scale,
    "loaded_multi": loaded_multi,
    "loaded_pair": loaded_pair,
    "warm_cosine": warm_cosine,
    "held_named": lambda: pair(Named, tuple),
    "held_slots": lambda: pair(Slotted, lambda held: (held.body, held.head)),
    "held_deque": lambda: pair(lambda a, b: deque([a, b]), tuple),
    "held_closure": lambda: pair(lambda a, b: lambda: (a, b), lambda held: held()),
    "sparse_tied": lambda: words(tied=True),
    "sparse_clipped": lambda: words(clipnorm=0.01),
    "several_numbers": several_numbers,
}
