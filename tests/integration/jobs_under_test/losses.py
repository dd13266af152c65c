"""One small regression in every way a loss, a gradient or a training step can be written in Keras."""

from jobs.api import Job

KINDS = (
    "scalar_function",
    "loss_class_returning_a_scalar",
    "function_over_time",
    "regularizer_and_add_loss",
    "sum_and_mean_outputs",
    "sample_weight",
    "guide_train_step",
    "own_loss_train_step",
    "tutorial_train_step",
    "compute_loss_overridden",
    "global_clipnorm",
    "embedding",
    "synchronized_batch_norm",
)
"""Each exact in sync. Beside these: `loss_scale_optimizer`, `accumulation`."""


class Losses(Job):
    class Params(Job.Params):
        kind: str = "keras_loss"
        rows: int = 2048

    def build_model(self):
        return BUILDERS.get(self.params.kind, plain)(self.params.kind)

    def _arrays(self):
        import numpy as np

        random = np.random.default_rng(11)
        x = random.normal(size=(self.params.rows, 8)).astype("float32")
        y = np.sin(x.sum(axis=1, keepdims=True)).astype("float32")
        kind = self.params.kind
        if kind == "embedding":
            return random.integers(0, 20, size=(self.params.rows, 5)).astype("int32"), y
        if kind == "function_over_time":
            return np.repeat(x[:, None], 3, axis=1), np.repeat(y[:, None], 3, axis=1)
        if kind == "sum_and_mean_outputs":
            return {"x": x}, {"a": y, "b": (y > 0).astype("float32")}
        if kind == "sample_weight":
            return x, y, random.uniform(0.1, 3, size=self.params.rows).astype("float32")
        return x, y

    def train_dataset(self, context):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(self._arrays()).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def plain(kind):
    import keras
    from keras import ops

    inputs = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(16, activation="tanh")(inputs)
    if kind == "regularizer_and_add_loss":
        hidden = Activity()(keras.layers.Dense(16, kernel_regularizer=keras.regularizers.L2(0.01))(hidden))
    if kind == "synchronized_batch_norm":
        hidden = keras.layers.BatchNormalization(synchronized=True)(hidden)
    outputs = keras.layers.Dense(1)(hidden)
    base = {
        "guide_train_step": GuideStep,
        "own_loss_train_step": OwnLossStep,
        "tutorial_train_step": TutorialStep,
        "compute_loss_overridden": OwnComputeLoss,
    }
    model = base[kind]()(inputs, outputs) if kind in base else keras.Model(inputs, outputs)
    loss = {
        "scalar_function": lambda y, p: ops.mean(ops.square(y - p)),
        "loss_class_returning_a_scalar": huber_class(),
    }.get(kind, "mse")
    optimizer = {
        "global_clipnorm": lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.3),
        "accumulation": lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
        "loss_scale_optimizer": lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(0.01), initial_scale=2.0**127
        ),
    }.get(kind, lambda: keras.optimizers.Adam(0.01))()
    metrics = None if kind == "tutorial_train_step" else ["mae"]
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def over_time(kind):
    import keras

    model = keras.Sequential([keras.Input((3, 8)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=lambda y, p: keras.ops.square(y - p), metrics=["mae"])
    return model


def two_outputs(kind):
    import keras

    inputs = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(16, activation="tanh")(inputs)
    outputs = {
        "a": keras.layers.Dense(1, name="a")(hidden),
        "b": keras.layers.Dense(1, activation="sigmoid", name="b")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss={"a": keras.losses.MeanSquaredError(reduction="sum"), "b": "binary_crossentropy"},
        loss_weights={"a": 0.3, "b": 2.0},
        metrics={"a": ["mae"], "b": ["accuracy"]},
    )
    return model


def embedding(kind):
    import keras

    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(20, 4),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    return model


BUILDERS = {
    "function_over_time": over_time,
    "sum_and_mean_outputs": two_outputs,
    "embedding": embedding,
}


def huber_class():
    import keras

    class Huber(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(keras.losses.huber(y_true, y_pred))

    return Huber()


def Activity():  # noqa: N802 - a class, made where Keras may be imported
    import keras

    class ActivityLayer(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(0.02 * keras.ops.mean(keras.ops.square(inputs)))
            return inputs

    return ActivityLayer()


def GuideStep():  # noqa: N802
    """Keras' guide "Customizing what happens in fit() with TensorFlow", first example."""
    import keras
    import tensorflow as tf

    class CustomModel(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    return CustomModel


def OwnLossStep():  # noqa: N802
    """The same guide, "Going lower-level"."""
    import keras
    import tensorflow as tf

    class CustomModel(keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.loss_tracker = keras.metrics.Mean(name="loss")
            self.mae_metric = keras.metrics.MeanAbsoluteError(name="mae")
            self.loss_fn = keras.losses.MeanSquaredError()

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.loss_fn(y, y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

    return CustomModel


def TutorialStep():  # noqa: N802
    """As TensorFlow's tutorials on distributed training do: per-sample losses, divided by the global batch."""
    import keras
    import tensorflow as tf

    class CustomModel(keras.Model):
        def train_step(self, data):
            x, y = data
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            with tf.GradientTape() as tape:
                losses = tf.reduce_mean(tf.square(y - self(x, training=True)), axis=-1)
                loss = tf.reduce_sum(losses) / (tf.cast(tf.shape(x)[0], tf.float32) * replicas)
            variables = self.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return {"loss": loss}

    return CustomModel


def OwnComputeLoss():  # noqa: N802
    import keras

    class CustomModel(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.abs(y_pred - y)) + sum(self.losses)

    return CustomModel
