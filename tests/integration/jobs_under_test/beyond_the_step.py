"""Models whose result depends on what `fit` does outside of `train_step`, or on the state they bring with them."""

from jobs.api import Job

AVERAGED = ("sgd", "adam", "own", "overflowing")
ALONE = ("accumulated", "overwritten")
"""Those that only one worker of mode sync can train."""
"""Optimizers that set the final weights when training ends."""
LOADED = ("schedule", "adam", "nadam", "averaged")
"""Compiled models that have been trained before."""
BEFORE = 40
"""Steps."""


class Regression(Job):
    class Params(Job.Params):
        kind: str = "sgd"
        loaded: bool = False

    def build_model(self):
        import keras

        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])
        model.compile(loss="mse", optimizer=optimizer(self.params.kind, self.params.loaded))
        if self.params.loaded:
            trained_before(model.optimizer, model.trainable_variables)
            model = clone(model)
        return model

    def _arrays(self, seed):
        import numpy as np

        x = np.random.default_rng(seed).normal(size=(1024, 8)).astype("float32")
        return x, x @ np.arange(1, 9, dtype="float32")[:, None] / 8

    def train_dataset(self, context):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(self._arrays(1)).batch(context.batch_size)

    def eval_dataset(self, context):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(self._arrays(2)).batch(context.batch_size).take(4)


class WithCallbacks(Regression):
    """`on_train_end` has the final weights, as under `fit`."""

    def callbacks(self):
        import keras

        def show(logs):
            print("ON TRAIN END", float(abs(made.model.trainable_weights[0].numpy()).sum()), flush=True)

        made = keras.callbacks.LambdaCallback(on_train_end=show)
        return [made]


def optimizer(kind, loaded):
    import keras

    class Own(keras.optimizers.SGD):
        def finalize_variable_values(self, var_list):
            for variable in var_list:
                variable.assign(variable / 2)

    class Counted(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 * 0.9 ** (keras.ops.cast(step, "float32") / 10)

        def get_config(self):
            return {}

    averaged = {"use_ema": True, "ema_momentum": 0.9}
    match kind, loaded:
        case "sgd", _:
            return keras.optimizers.SGD(0.05, **averaged)
        case "adam", False:
            return keras.optimizers.Adam(0.05, **averaged)
        case "own", _:
            return Own(0.05)
        case "overflowing", _:
            return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05, **averaged), initial_scale=1e3)
        case "accumulated", _:
            return keras.optimizers.Adam(0.05, gradient_accumulation_steps=3)
        case "overwritten", _:
            return keras.optimizers.SGD(0.05, ema_overwrite_frequency=5, **averaged)
        case "schedule", _:
            return keras.optimizers.SGD(Counted(), momentum=0.9)
        case "adam", True:
            return keras.optimizers.Adam(0.05)
        case "nadam", _:
            return keras.optimizers.Nadam(0.05)
        case _:
            return keras.optimizers.SGD(0.05, **averaged)


def trained_before(optimizer, variables):
    """Give `optimizer` the state of `BEFORE` steps, as far as a test has to know: none of it is zero."""
    import numpy as np

    optimizer.build(variables)
    random = np.random.default_rng(5)
    for variable in optimizer.variables:
        if variable is optimizer.iterations:
            variable.assign(BEFORE)
        elif variable.path.split("/")[-1] != "learning_rate":
            variable.assign(random.uniform(0.1, 0.3, size=tuple(variable.shape)))


def clone(model):
    """The model as `load_model` returns it, by way of a file."""
    import tempfile
    from pathlib import Path

    import keras

    path = Path(tempfile.mkdtemp()) / "before.keras"
    kinds = {"Counted": type(getattr(model.optimizer, "_learning_rate", None))}
    model.save(path)
    return keras.models.load_model(path, custom_objects=kinds)
