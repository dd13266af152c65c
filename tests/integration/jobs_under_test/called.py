"""Exact, with Keras callbacks; `set` says which."""

from exact import Exact


class Called(Exact):
    class Params(Exact.Params):
        set: str = "many"
        rows: int = 512

    def callbacks(self):
        return globals()[self.params.set](self)

    def eval_dataset(self, context):
        return super().train_dataset(context).take(2)


def note(job, text):
    with (job.run_directory / "notes.txt").open("a") as file:
        file.write(f"{text}\n")


def many(job):
    """Rates fall, the model is rewritten once, and training ends early with the best weights."""
    import keras

    def on_epoch_end(epoch, logs):
        note(job, f"epoch {epoch}")
        if epoch == 1:
            model = rewrite.model
            model.set_weights([0.5 * weight for weight in model.get_weights()])

    rewrite = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: note(job, "begin"),
        on_epoch_begin=lambda epoch, logs: note(job, f"start {epoch}"),
        on_epoch_end=on_epoch_end,
        on_train_end=lambda logs: note(job, f"end {sorted(logs)}"),
    )
    return [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=10.0),
        keras.callbacks.ModelCheckpoint("kept/best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.ModelCheckpoint("epoch-{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.CSVLogger("kept/log.csv"),
        keras.callbacks.TensorBoard("tensorboard/keras"),
        rewrite,
        keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
    ]


def epochs(job):
    """Notes of every epoch's end, with what it logged; a rate that falls with each."""
    import keras

    noting = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: note(job, "begin"),
        on_epoch_begin=lambda epoch, logs: note(job, f"start {epoch}"),
        on_epoch_end=lambda epoch, logs: note(job, f"epoch {epoch} {logs['loss']:.5f} {logs['val_loss']:.5f}"),
        on_train_end=lambda logs: note(job, "end"),
    )
    return [keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=10.0), noting]


def early(job):
    import keras

    return [keras.callbacks.CSVLogger("log.csv"), keras.callbacks.EarlyStopping("loss", min_delta=10.0, patience=1)]


def raising(job):
    import keras

    return [keras.callbacks.CSVLogger("log.csv"), keras.callbacks.LambdaCallback(on_epoch_end=fail)]


def fail(epoch, logs):
    raise ZeroDivisionError("the user's own mistake")


def batchwise(job):
    import keras

    class StopAtSix(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weight = float(self.model.get_weights()[0][0, 0])
            note(job, f"{batch} {logs['loss']:.6f} {weight:.6f}")
            self.model.stop_training = batch == 5

    return [StopAtSix(), keras.callbacks.TerminateOnNaN()]


def no_list(job):
    return "EarlyStopping"


class Endless(Called):
    """An infinite dataset, like a data stream."""

    def train_dataset(self, context):
        return super().train_dataset(context).repeat()


class EndlessWithEpochs(Endless):
    samples_per_epoch = 256


def resuming(job):
    """Training ends where another group takes it up, before a step of its own."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.stop_training = int(self.model.optimizer.iterations) > 0

    return [Stop()]
