"""Mistakes of the user's, raised in many places while a model trains."""

from exact import Exact

WORDS = "add it to the table in optimizer.yaml"


class Failing(Exact):
    class Params(Exact.Params):
        where: str = "update_step"

    def build_model(self):
        import keras

        where = self.params.where
        kind = {"apply": in_apply(keras), "update_step": in_update(keras), "clipped": in_clip(keras)}
        rate = in_schedule(keras)() if where == "schedule" else 0.01
        constraint = in_constraint(keras)() if where == "constraint" else None
        regularizer = in_regularizer(keras)() if where == "regularizer" else None
        layers = [
            keras.Input((16,)),
            keras.layers.Dense(8, kernel_regularizer=regularizer),
            *([in_gradient(keras)()] if where == "gradient" else []),
            keras.layers.Dense(1, kernel_constraint=constraint),
        ]
        model = keras.Sequential(layers)
        metrics = [in_metric(keras)()] if where == "metric" else []
        model.compile(kind.get(where, keras.optimizers.SGD)(rate), "mse", metrics=metrics, run_eagerly=where == "eager")
        if where == "eager":
            model.__class__ = eager(keras)
        return model


def fail():
    raise ValueError(f"no rule for this variable: {WORDS}")


def in_update(keras):
    class Mine(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            fail()

    return Mine


def in_apply(keras):
    class Mine(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables=None):
            fail()

    return Mine


def in_clip(keras):
    class Mine(keras.optimizers.SGD):
        def _clip_gradients(self, grads):
            fail()

    return Mine


def in_schedule(keras):
    class Mine(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            fail()

        def get_config(self):
            return {}

    return Mine


def in_constraint(keras):
    class Mine(keras.constraints.Constraint):
        def __call__(self, w):
            fail()

    return Mine


def in_regularizer(keras):
    class Mine(keras.regularizers.Regularizer):
        def __call__(self, weights):
            fail()

    return Mine


def in_gradient(keras):
    import tensorflow as tf

    @tf.custom_gradient
    def same(x):
        return tf.identity(x), lambda upstream: fail()

    class Mine(keras.layers.Layer):
        def call(self, x):
            return same(x)

    return Mine


def in_metric(keras):
    class Mine(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            fail()

    return Mine


def eager(keras):
    class Mine(keras.Sequential):
        def train_step(self, data):
            x, _ = data
            print(float(x.numpy().mean()))
            return super().train_step(data)

    return Mine


class Data(Exact):
    """Goes wrong at the tenth batch of the stream, which is one worker's alone."""

    class Params(Exact.Params):
        kind: str = "assertion"

    def train_dataset(self, context):
        import tensorflow as tf

        kind = self.params.kind

        def python(n):
            raised = {
                "value": ValueError("failed to connect to all addresses of my cache"),
                "key": KeyError("no such word"),
                "unavailable": tf.errors.UnavailableError(None, None, "my service has no such record"),
                "aborted": tf.errors.AbortedError(None, None, "my transaction failed"),
                "reset": ConnectionResetError("Connection reset by peer"),
            }
            if n == 9:
                raise raised[kind]
            return n

        def check(n, batch):
            x, y = batch
            if kind == "assertion":
                with tf.control_dependencies([tf.debugging.assert_less(n, tf.constant(9, tf.int64))]):
                    return tf.identity(x), y
            if kind == "missing_file":
                name = tf.where(n == 9, "/no/such/file", "/proc/self/stat")
                with tf.control_dependencies([tf.io.read_file(name)]):
                    return tf.identity(x), y
            if kind == "reshape":
                return tf.reshape(x, tf.where(n == 9, [-1, 7], [-1, 16])), y
            if kind == "step":
                return tf.where(n == 9, x * float("nan"), x), y
            with tf.control_dependencies([tf.py_function(python, [n], tf.int64)]):
                return tf.identity(x), y

        dataset = super().train_dataset(context).enumerate().map(check)
        if kind == "reshape":
            return dataset.map(lambda x, y: (tf.ensure_shape(x, [context.batch_size, 16]), y))
        return dataset.map(lambda x, y: (tf.ensure_shape(x, [None, 16]), y))

    def eval_dataset(self, context):
        return super().train_dataset(context).take(2)

    def build_model(self):
        import keras
        import tensorflow as tf

        class Checked(keras.layers.Layer):
            def call(self, x):
                return tf.debugging.check_numerics(x, "my check")

        layers = [Checked()] if self.params.kind == "step" else []
        model = keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model


class Collective(Exact):
    """A layer with a collective of its own, whose shape varies from batch to batch."""

    def build_model(self):
        import keras
        import tensorflow as tf

        class Together(keras.layers.Layer):
            def call(self, x):
                replica = tf.distribute.get_replica_context()
                if replica is None or not replica.strategy.extended._in_multi_worker_mode():
                    return x
                rows = tf.cast(tf.abs(x[0, 0]) * 10, tf.int32) % 4 + 1
                total = replica.all_reduce(tf.distribute.ReduceOp.SUM, x[:rows])
                return x + 0 * tf.reduce_sum(total)

        model = keras.Sequential([keras.Input((16,)), Together(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model


class Refused(Exact):
    """Settings and data that cannot be trained with several workers."""

    class Params(Exact.Params):
        what: str = "stateful"

    def build_model(self):
        import keras

        what = self.params.what
        layers = [keras.layers.Dense(4)]
        if what in ("stateful", "stateful_inside"):
            rnn = keras.layers.GRU(4, stateful=True, name="remembers")
            layers = [keras.layers.Reshape((4, 4)), keras.Sequential([rnn]) if what == "stateful_inside" else rnn]
        settings = {
            "accumulation": {"gradient_accumulation_steps": 2},
            "overwrite": {"use_ema": True, "ema_overwrite_frequency": 3},
        }
        inputs = keras.Input(batch_shape=(16, 16))
        outputs = inputs
        for layer in [*layers, keras.layers.Dense(1)]:
            outputs = layer(outputs)

        class Own(keras.Model):
            def fit(self, *arguments, **options):
                return super().fit(*arguments, **options)

        class Compiled(keras.Model):
            def make_train_function(self, force=False):
                return super().make_train_function(force)

        kinds = {"own_fit": Own, "own_train_function": Compiled}
        model = kinds.get(what, keras.Model)(inputs, outputs)
        model.compile(keras.optimizers.SGD(0.01, **settings.get(what, {})), "mse")
        return model

    def train_dataset(self, context):
        dataset = super().train_dataset(context)
        if self.params.what == "empty_shard":
            return context.shard(dataset.take(1))
        return dataset
