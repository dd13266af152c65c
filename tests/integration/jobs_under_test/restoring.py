"""Callbacks that bring back a state of their own when training begins; `set` says which."""

from called import Called


class Restoring(Called):
    def callbacks(self):
        import keras
        import tensorflow as tf

        path = self.run_directory / "own.weights.h5"

        class Own(keras.callbacks.Callback):
            """As in many training scripts: weights of the last epoch, if there are any."""

            def on_train_begin(self, logs=None):
                if path.exists():
                    self.model.load_weights(path)

            def on_epoch_end(self, epoch, logs=None):
                if epoch == 0:  # so that the checkpoint is a later state, wherever the break is
                    self.model.save_weights(path)

        class Early(Own):
            def on_train_begin(self, logs=None):
                pass

            def set_model(self, model):
                super().set_model(model)
                Own.on_train_begin(self)

        class Checkpoint(keras.callbacks.Callback):
            """As in TensorFlow's guides: a tf.train.Checkpoint of model and optimizer."""

            def on_train_begin(self, logs=None):
                whole = tf.train.Checkpoint(model=self.model, optimizer=self.model.optimizer)
                self.manager = tf.train.CheckpointManager(whole, str(path.parent / "tf"), max_to_keep=1)
                self.manager.restore_or_initialize()

            def on_epoch_end(self, epoch, logs=None):
                if epoch == 0:
                    self.manager.save()

        class Backup(keras.callbacks.BackupAndRestore):
            def on_train_begin(self, logs=None):
                super().on_train_begin(logs)

        made = {
            "backup": lambda: keras.callbacks.BackupAndRestore("backup"),
            "subclass": lambda: Backup("backup"),
            "own": Own,
            "early": Early,
            "checkpoint": Checkpoint,
        }
        return [made[self.params.set]()] if self.params.set else []
