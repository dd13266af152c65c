"""Callbacks whose effect depends on how often their batch hooks run; `set` says which."""

from called import Called, note


class Batchwise(Called):
    def callbacks(self):
        return globals()[self.params.set](self)


def warm_up(job):
    """Sets the learning rate before every batch."""
    import keras

    class WarmUp(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.seen += 1
            self.model.optimizer.learning_rate = 0.02 * min(1.0, self.seen / 20)

        def on_train_end(self, logs=None):
            note(job, f"{self.seen} batches")

    return [WarmUp()]


def cyclic(job):
    """A function given to Keras' own LambdaCallback, within a CallbackList, by the old name of the hook."""
    import keras

    class Old(keras.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            note(job, f"{batch} {logs['loss']:.3f}")

    def on_train_batch_end(batch, logs):
        cycle.model.optimizer.learning_rate = 0.01 if batch % 2 else 0.03

    cycle = keras.callbacks.LambdaCallback(on_train_batch_end=on_train_batch_end)
    return [keras.callbacks.CallbackList([cycle]), Old()]


def clipping(job):
    """Rewrites the weights after every third batch, and stops in the second epoch."""
    import keras

    class Clip(keras.callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            self.model.stop_training = self.epoch == 1 and batch == 4  # this batch is trained yet

        def on_train_batch_end(self, batch, logs=None):
            if batch % 3 == 2:
                self.model.set_weights([weight.clip(-0.2, 0.2) for weight in self.model.get_weights()])
            note(job, f"{self.epoch} {batch}")

    return [Clip()]


def saving(job):
    """Keras' own, which count batches for themselves."""
    import keras

    return [keras.callbacks.ModelCheckpoint("{batch}.weights.h5", save_weights_only=True, save_freq=7)]
