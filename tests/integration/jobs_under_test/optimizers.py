"""A model whose body and head are updated by optimizers of their own, which are kept in many places."""

from jobs.api import Job

KEPT = ("dict", "list", "tuple", "nested", "sub_model", "helper", "set", "attributes")
REFUSED = ("module", "created_in_the_step")
_ELSEWHERE = {}


class Helper:
    """A user's own class, unknown to Keras."""


class Optimizers(Job):
    class Params(Job.Params):
        kept: str = "dict"
        early: bool = False

    def build_model(self):
        import keras

        model = two_rates(self.params.kept, self.params.early)
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        return model

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        x = np.random.default_rng(1).normal(size=(1024, 8)).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, np.sin(x[:, :1] * 2) + x[:, 1:2])).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)


def two_rates(kept, early):
    import keras
    import tensorflow as tf

    class TwoRates(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = keras.layers.Dense(16, activation="tanh")
            self.head = keras.layers.Dense(1)
            a, b = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.05, momentum=0.9)
            if early:
                self.build((None, 8))
                a.build(self.body.trainable_variables)
                b.build(self.head.trainable_variables)
            keep(self, a, b)

        def build(self, shape):
            self.body.build(shape)
            self.head.build((None, 16))
            self.built = True

        def call(self, x, training=False):
            return self.head(self.body(x))

        def train_step(self, data):
            x, y = data
            with tf.GradientTape(persistent=True) as tape:
                loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
            for optimizer, layer in zip(kept_in(self), (self.body, self.head), strict=True):
                variables = layer.trainable_variables
                optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return {"loss": loss}

    def keep(model, a, b):
        match kept:
            case "dict":
                model.opts = {"body": a, "head": b}
            case "list":
                model.opts = [a, b]
            case "tuple":
                model.opts = (a, b)
            case "nested":
                model.opts = {"all": [{"body": a}, (b,)]}
            case "sub_model":
                model.body.opts, model.head.opts = [a], {"mine": b}
            case "helper":
                model.helper = Helper()
                model.helper.opts = [a, b]
            case "set":
                a.name, b.name = "a", "b"
                model.opts = {a, b}
            case "module":
                _ELSEWHERE[id(model)] = (a, b)
            case "created_in_the_step":
                pass
            case _:
                model.a, model.b = a, b

    def kept_in(model):
        match kept:
            case "dict":
                return model.opts["body"], model.opts["head"]
            case "nested":
                return model.opts["all"][0]["body"], model.opts["all"][1][0]
            case "sub_model":
                return model.body.opts[0], model.head.opts["mine"]
            case "helper":
                return model.helper.opts
            case "set":
                return sorted(model.opts, key=lambda optimizer: optimizer.name)
            case "module":
                return _ELSEWHERE[id(model)]
            case "created_in_the_step":
                if not hasattr(model, "made"):
                    model.made = [keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.05)]
                return model.made
            case "attributes":
                return model.a, model.b
            case _:
                return model.opts

    return TwoRates()
