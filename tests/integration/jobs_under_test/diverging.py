"""A regression that goes astray at a known update, for as long as its learning rate is what it was."""

from jobs.api import Job

RATE = 0.01


class Diverging(Job):
    class Params(Job.Params):
        kind: str = "nan"
        """`nan`: loss and gradients, and with them the weights; `rise`: the loss alone."""
        at: int = 300
        schedule: bool = False

    def build_model(self):
        import keras

        rate = RATE
        if self.params.schedule:
            rate = keras.optimizers.schedules.ExponentialDecay(RATE, decay_steps=1000, decay_rate=0.99)
        model = rigged(self.params)
        model.compile(optimizer=keras.optimizers.SGD(rate), loss="mse")
        return model

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        random = np.random.default_rng(7)
        x = random.normal(size=(4096, 8)).astype("float32")
        y = x.sum(axis=1, keepdims=True) + random.normal(size=(4096, 1)).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(4)


def rigged(params):
    import keras
    import tensorflow as tf

    class Rigged(keras.Sequential):
        def train_step(self, data):
            x, y = data
            done = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32)
            rate = tf.cast(tf.convert_to_tensor(self.optimizer.learning_rate), tf.float32)
            astray = tf.logical_and(done >= params.at, rate > 0.7 * RATE)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
                if params.kind == "nan":
                    loss *= tf.where(astray, float("nan"), 1.0)
            variables = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            growth = tf.where(astray, tf.exp(0.01 * (done - params.at)), 1.0)
            return {"loss": loss * growth}

    return Rigged([keras.Input((8,)), keras.layers.Dense(1)])
