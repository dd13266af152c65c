"""The built-in `two-stage`, on a TensorFlow that refuses a device it does not have instead of taking another."""

from jobs.two_stage import TwoStage


class Spread(TwoStage):
    def build_model(self):
        import tensorflow as tf

        tf.config.set_soft_device_placement(False)
        return super().build_model()
