"""Weights that are averaged, with callbacks that swap the averages in; `set` says how."""

from called import Called, note


class Averaging(Called):
    def build_model(self):
        import keras

        model = keras.Sequential(
            [keras.Input((16,)), keras.layers.Dense(8, activation="tanh", name="body"), keras.layers.Dense(1)]
        )
        optimizer = keras.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9)
        if self.params.set == "by_layer":
            other = keras.optimizers.SGD(0.02)
            optimizer = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(other, {".*body/.*": optimizer}))
        if self.params.set == "scaled":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
        model.compile(optimizer, "mse")
        return model

    def callbacks(self):
        import keras

        def write(epoch, logs):
            weights = " ".join(f"{weight.sum():.4f}" for weight in noting.model.get_weights())
            note(self, f"{epoch} {logs['loss']:.5f} {logs['val_loss']:.5f} {weights}")

        noting = keras.callbacks.LambdaCallback(on_epoch_end=write)
        swapping = keras.callbacks.SwapEMAWeights(swap_on_epoch=self.params.set != "validation")
        return [swapping, noting, keras.callbacks.EarlyStopping("val_loss", patience=99)]
