"""Models of scripts, each captured and copied in this one process; prints for each what came of it, as JSON.

python -m tests.integration.scripts.copied FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """
import keras, numpy as np, tensorflow as tf
from keras import layers, ops
keras.utils.set_random_seed(3)
x = np.random.normal(size=(32, 4)).astype("float32")
y = x.sum(1, keepdims=True)
def ends(model, **options):
    model.compile("adam", **{"loss": "mse", **options})
    model.fit(x, y)
"""
COPIED = {
    "a loss made by a function, a lambda, a frozen layer": """
def weighted(weight):
    def loss(y, p):
        return weight * ops.mean(ops.square(y - p), -1)
    return loss
shared, inputs = layers.Dense(4), keras.Input((4,))
h = layers.Lambda(lambda v: v * len(x))(shared(shared(inputs)))
model = keras.Model(inputs, layers.Dense(1, activation=lambda v: tf.nn.relu(v))(h))
shared.trainable = False
ends(model, loss=weighted(2.0), metrics=["mae", keras.metrics.RootMeanSquaredError(name="off")])
""",
    "a train_step, metrics, a sub-model": """
class Net(keras.Model):
    def __init__(self, inner, rate=0.5, **options):
        super().__init__(**options)
        self.inner, self.rate, self.tracker = inner, rate, keras.metrics.Mean(name="loss")
    def call(self, x):
        return self.inner(x)
    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.rate * self.factor * ops.mean(ops.square(self(data[0]) - data[1]))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}
model = Net(keras.Sequential([layers.Dense(3), layers.Dropout(0.5, seed=1), layers.Dense(1)]), rate=0.3)
model.factor = 2.0
model.compile("adam")
model.fit(x, y)
""",
    "two optimizers of a compile of its own": """
class Gan(keras.Model):
    def __init__(self, one, two):
        super().__init__()
        self.one, self.two = one, two
    def compile(self, first, second, loss_fn):
        super().compile()
        self.first, self.second, self.loss_fn, self.seen = first, second, loss_fn, keras.metrics.Mean(name="g_loss")
    @property
    def metrics(self):
        return [self.seen]
    def train_step(self, data):
        for part, optimizer in ((self.one, self.first), (self.two, self.second)):
            with tf.GradientTape() as tape:
                loss = self.loss_fn(data[1], part(data[0]))
            optimizer.apply_gradients(zip(tape.gradient(loss, part.trainable_weights), part.trainable_weights))
        self.seen.update_state(loss)
        return {"g_loss": self.seen.result()}
one, two = (keras.Sequential([keras.Input((4,)), layers.Dense(1)]) for _ in range(2))
gan = Gan(one=one, two=two)
gan.compile(keras.optimizers.Adam(0.1), keras.optimizers.SGD(0.2), keras.losses.MeanSquaredError())
gan.fit(x, y)
""",
    "what adapt has found": """
numbers, words = layers.Normalization(), layers.StringLookup(output_mode="one_hot")
numbers.adapt(x)
words.adapt(np.array(["a", "b", "a"]))
inputs = {"n": keras.Input((4,), name="n"), "w": keras.Input((1,), name="w", dtype="string")}
joined = layers.concatenate([numbers(inputs["n"]), words(inputs["w"])])
model = keras.Model(inputs, layers.Dense(1)(joined))
model.compile("sgd", "mse")
model.fit({"n": tf.constant(x), "w": tf.constant([["a"]] * 32)}, y)
""",
    "layers without get_config, in 16 bits": """
keras.mixed_precision.set_global_policy("mixed_bfloat16")
class Block(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.dense = layers.Dense(width)
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")
    def call(self, x):
        return self.dense(x * self.scale)
def make():
    class Local(layers.Layer):
        def call(self, x):
            return x + 1
    return keras.Sequential([keras.Input((4,)), Block(width=3), Local(), layers.Dense(1, dtype="float32")])
ends(make())
""",
    "variables that exist only with data": """
first = layers.Dense(3, "relu", kernel_regularizer="l2")
model = keras.Sequential([first, layers.BatchNormalization(), layers.Dense(1)])
model.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 9), clipnorm=1.0), "mse")
model.fit(x, y)
""",
}
NOT_COPIED = {
    "loss_tracker is a Mean that both would use": """
loss_tracker = keras.metrics.Mean()
class Net(keras.Model):
    def train_step(self, data):
        loss_tracker.update_state(1.0)
        return {"loss": loss_tracker.result()}
inputs = keras.Input((4,))
ends(Net(inputs, layers.Dense(1)(inputs)))
""",
    "teacher is a Sequential that both would use": """
teacher = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
ends(keras.Sequential([layers.Dense(1)]), loss=lambda y, p: ops.square(teacher(x) - p))
""",
    "sets the global variable calls": """
calls = 0
def counted(y, p):
    global calls
    calls += 1
    return ops.square(y - p)
ends(keras.Sequential([layers.Dense(1)]), loss=counted)
""",
    "model.noise": """
class Noisy(keras.Model):
    def __init__(self):
        super().__init__()
        self.noise, self.dense = np.random.normal(size=4).astype("float32"), layers.Dense(1)
    def call(self, x):
        return self.dense(x + self.noise)
ends(Noisy())
""",
    "whose class is not made from inputs and outputs": """
class Graph(keras.Model):
    def __init__(self, *widths):
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(1)(layers.Dense(widths[0])(inputs)))
ends(Graph(3))
""",
    "the number of layers": """
inner = layers.Dense(4)
class Twice(keras.Model):
    def __init__(self, one, two):
        super().__init__()
        self.one, self.two, self.last = one, two, layers.Dense(1)
    def call(self, x):
        return self.last(self.two(self.one(x)))
class Wrap(layers.Layer):
    def __init__(self, dense):
        super().__init__()
        self.dense = dense
    def call(self, x):
        return self.dense(x)
    def get_config(self):
        return {"dense": keras.saving.serialize_keras_object(self.dense)}
    @classmethod
    def from_config(cls, config):
        return cls(layers.Dense(4))
ends(Twice(one=Wrap(inner), two=Wrap(inner)))
""",
    "model.table": """
model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
model.table = {"a": [1, 2]}
ends(model)
""",
}


def outcome(path: Path, source: str) -> dict[str, Any]:
    """What comes of the model of a script: how copy and model differ after a step of both, or why there is no copy."""
    from jobs.scripts.capture import capture
    from jobs.scripts.copied_model import NotCopied, copied
    from jobs.scripts.execution import Script

    path.write_text(HEAD + source)
    call, execution = capture(Script(path, path.name), 1, lambda reached, _: reached.train())
    try:
        copy = copied(call.model, execution)
    except NotCopied as why:
        return {"why": str(why)}
    return {"off": _difference_after_a_step(call.model, copy, next(iter(call.data.dataset())))}


def _difference_after_a_step(model: Any, copy: Any, batch: Any) -> float:
    """The largest difference of any weight, or of a value in the logs, with the weights that `model` begins with."""
    import numpy as np

    from workers.model import state
    from workers.model.step import build

    for one in (model, copy):
        build(one, batch)
    state.load(copy, state.read(model))
    logs = [{name: float(value) for name, value in one.train_step(batch).items()} for one in (model, copy)]
    assert logs[0].keys() == logs[1].keys()
    after = [state.read(one) for one in (model, copy)]
    off = [abs(logs[0][name] - logs[1][name]) for name in logs[0]]
    off += [
        float(np.max(np.abs(np.asarray(one, "float64") - np.asarray(other, "float64")), initial=0.0))
        for one, other in zip(after[0].weights + after[0].optimizer, after[1].weights + after[1].optimizer, strict=True)
    ]
    return max(off)


def main() -> None:
    folder = Path(sys.argv[1])
    cases = [*COPIED.values(), *NOT_COPIED.values()]
    found = [outcome(folder / f"case_{number}.py", source) for number, source in enumerate(cases)]
    print("found", json.dumps(found))


if __name__ == "__main__":
    main()
