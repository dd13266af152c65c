"""A small regression in the shape of public bug reports; `kind` says which."""

import collections
import dataclasses
from types import SimpleNamespace

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
        if self.params.kind in WORDS:
            x = random.integers(1, 20, size=(1024, 6)).astype("int32")
            y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(context.batch_size)
        return MAPS[self.params.kind](dataset) if self.params.kind in MAPS else dataset

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def compiled(optimizer, **options):
    import keras

    layers = [keras.Input((8,)), keras.layers.Dense(8, activation="tanh", name="body"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(optimizer, **({"loss": "mse"} | options))
    return model


def by_layer(**averaged):
    import keras

    adam, sgd = keras.optimizers.Adam(0.05, **averaged), keras.optimizers.SGD(0.05)
    return compiled(keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {"body/.*": adam})))


def by_function():
    import keras

    def chosen(variable):
        return keras.optimizers.Adam(0.05) if "body" in variable.path else keras.optimizers.SGD(0.05)

    return compiled(keras.optimizers.MultiOptimizer(chosen))


def named(name, rate=0.05, **options):
    import keras

    return compiled(getattr(keras.optimizers, name)(rate, **options))


def loaded_scale():
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
    for optimizer in model.optimizer.optimizers:
        optimizer.iterations.assign(30)
    model.optimizer.iterations.assign(30)
    return model


def loaded_pair():
    """Two optimizers in a custom step that have counted differently before."""
    import keras

    model = pair(lambda a, b: {"a": a, "b": b}, lambda held: (held["a"], held["b"]))
    model.build((None, 8))
    one, other = model.held["a"], model.held["b"]
    one.build(model.body.trainable_variables)
    other.build(model.head.trainable_variables)
    one.iterations.assign(50)
    other.iterations.assign(5)
    return model


def warm_cosine():
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(0.0, 15, warmup_target=0.1, warmup_steps=5)
    model = compiled(keras.optimizers.AdamW(schedule, weight_decay=0.01))
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)
    return model


@dataclasses.dataclass
class Held:
    body: object
    head: object


@dataclasses.dataclass(slots=True)
class Slotted:
    body: object
    head: object


Named = collections.namedtuple("Named", "body head")


def pair(keep, kept):
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


def closure(a, b):
    return lambda: (a, b)


def embedded(optimizer, tied=False, **options):
    import keras

    ids = keras.Input((6,), dtype="int32")
    table = keras.layers.Embedding(20, 4)
    x = keras.layers.GlobalAveragePooling1D()(table(ids))
    if tied:
        class Tied(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.table = table

            def call(self, x):
                return keras.ops.matmul(x, keras.ops.transpose(self.table.embeddings))

            def compute_output_shape(self, shape):
                return (shape[0], 20)

        x = Tied()(x)
    model = keras.Model(ids, keras.layers.Dense(1)(x))
    model.compile(optimizer, "mse", **options)
    return model


def sparse(name, rate=0.05, tied=False, **options):
    import keras

    return embedded(getattr(keras.optimizers, name)(rate, **options), tied)


def unfrozen():
    """Layers frozen when the model is compiled, and trained in the step."""
    model = compiled("sgd")
    return model


def dict_metric():
    import keras

    class Both(keras.metrics.Metric):
        def __init__(self, **options):
            super().__init__(name="both", **options)
            self.low, self.high = self.add_variable((), "zeros"), self.add_variable((), "zeros")

        def update_state(self, y, p, sample_weight=None):
            self.low.assign(keras.ops.min(p))
            self.high.assign(keras.ops.max(p))

        def result(self):
            return {"low": self.low.value, "high": self.high.value}

    return compiled("sgd", metrics=[Both()])


def int_metric():
    import keras

    class Count(keras.metrics.Metric):
        def __init__(self, **options):
            super().__init__(name="count", **options)
            self.total = self.add_variable((3,), "zeros", dtype="int32")

        def update_state(self, y, p, sample_weight=None):
            self.total.assign_add(keras.ops.cast(keras.ops.stack([keras.ops.sum(keras.ops.cast(p > 0, "int32"))] * 3), "int32"))

        def result(self):
            return self.total.value

    return compiled("sgd", metrics=[Count()])


def multi_metric():
    import keras

    return compiled("sgd", metrics=[keras.metrics.MeanMetricWrapper(lambda y, p: keras.ops.abs(y - p), name="own"), keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score(class_aggregation=None)])


KINDS = {
    "by_layer": by_layer,
    "by_layer_averaged": lambda: by_layer(use_ema=True, ema_momentum=0.9),
    "by_function": by_function,
    "schedule_free": lambda: named("ScheduleFreeAdamW"),
    "muon": lambda: named("Muon"),
    "adafactor": lambda: named("Adafactor"),
    "lamb": lambda: named("Lamb"),
    "lion": lambda: named("Lion", 0.005),
    "ftrl": lambda: named("Ftrl"),
    "amsgrad": lambda: named("Adam", amsgrad=True, global_clipnorm=0.5, weight_decay=0.01, use_ema=True, ema_momentum=0.9),
    "loaded_scale": loaded_scale,
    "loaded_multi": loaded_multi,
    "loaded_pair": loaded_pair,
    "warm_cosine": warm_cosine,
    "held_dataclass": lambda: pair(Held, lambda held: (held.body, held.head)),
    "held_slots": lambda: pair(Slotted, lambda held: (held.body, held.head)),
    "held_named": lambda: pair(Named, tuple),
    "held_deque": lambda: pair(lambda a, b: collections.deque([a, b]), tuple),
    "held_closure": lambda: pair(closure, lambda held: held()),
    "held_namespace": lambda: pair(lambda a, b: SimpleNamespace(a=a, b=b), lambda held: (held.a, held.b)),
    "sparse_adagrad": lambda: sparse("Adagrad"),
    "sparse_rmsprop": lambda: sparse("RMSprop"),
    "sparse_momentum": lambda: sparse("SGD", momentum=0.9, nesterov=True),
    "sparse_tied": lambda: sparse("Adam", tied=True),
    "sparse_clipnorm": lambda: sparse("Adam", clipnorm=0.01),
    "sparse_global_clip": lambda: sparse("Adam", global_clipnorm=0.01),
    "sparse_decay": lambda: sparse("AdamW", weight_decay=0.1),
    "sparse_lion": lambda: sparse("Lion"),
    "sparse_nadam": lambda: sparse("Nadam"),
    "sparse_schedule_free": lambda: sparse("ScheduleFreeAdamW"),
    "sparse_ema": lambda: sparse("Adam", use_ema=True, ema_momentum=0.9),
    "dict_metric": dict_metric,
    "int_metric": int_metric,
    "multi_metric": multi_metric,
}
WORDS = {kind for kind in KINDS if kind.startswith("sparse_")}
MAPS = {}
