"""Writes SavedModels: `python saved_models.py FOLDER SCALE ...`; the n-th has version n and answers scale * (x @ w).

Their signature `spin` counts to its input, and multiplies matrices while it does, so that it takes a while.
"""

from __future__ import annotations

import sys

import tensorflow as tf


class Weighted(tf.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.weights = tf.Variable([[scale], [2 * scale], [3 * scale]])

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(x, self.weights)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="times")])
    def spin(self, times: tf.Tensor) -> dict[str, tf.Tensor]:
        matrix = tf.fill([100, 100], 0.01)
        for _ in tf.range(times):
            matrix = tf.matmul(matrix, tf.fill([100, 100], 0.01))
        return {"turns": tf.cast(times, tf.float32) + 0 * matrix[0, 0]}


if __name__ == "__main__":
    for version, scale in enumerate(sys.argv[2:], 1):
        model = Weighted(float(scale))
        signatures = {"serving_default": model.predict, "spin": model.spin}
        tf.saved_model.save(model, f"{sys.argv[1]}/{version}", signatures=signatures)
