"""A loss that is a sum over the batch: its gradient grows with the number of samples."""

from exact import Exact


class Summed(Exact):
    def build_model(self):
        import keras

        model = super().build_model()
        model.compile(keras.optimizers.SGD(1e-4), keras.losses.MeanSquaredError(reduction="sum"))
        return model
