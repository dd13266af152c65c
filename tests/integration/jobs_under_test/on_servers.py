"""A job whose steps cannot be taken in visits to a store in memory: it is trained on parameter servers."""

from jobs.api import Job


class ByHand(Job):
    """Its step moves a weight without an optimizer, before it applies one to the others."""

    def build_model(self):
        import keras
        import tensorflow as tf

        class Own(keras.Model):
            def train_step(self, data):
                x, y = data[:2]
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x, training=True))
                *others, last = tape.gradient(loss, self.trainable_variables)
                *variables, bias = self.trainable_variables
                bias.assign(bias - 0.01 * last)
                self.optimizer.apply(others, variables)
                return {"loss": loss}

        inputs = keras.Input((4,))
        model = Own(inputs, keras.layers.Dense(1)(keras.layers.Dense(8, activation="tanh")(inputs)))
        model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
        return model

    def train_dataset(self, context):
        import numpy as np
        import tensorflow as tf

        x = np.random.default_rng(1).normal(size=(1024, 4)).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, np.sin(x[:, :1]) + 1)).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context).take(2)
