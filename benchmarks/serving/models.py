"""Writes what is served: `python -m benchmarks.serving.models FOLDER KIND`.

FOLDER gets `1` and `2`, two versions with other weights; `rows.npy`, inputs; `expected.npy`, what both versions predict
for them, one row at a time; and `alone.json`, the milliseconds of a bare call of version 1 with one row.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROWS = 256
KINDS = ("tiny", "dense", "cnn")


def build(kind: str, seed: int) -> Any:
    """A Keras model: three inputs and one layer, 784 inputs and two layers of 512 units, or a small CNN for images."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    if kind == "tiny":
        return keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    if kind == "dense":
        hidden = [layers.Dense(512, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(10, activation="softmax")])
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def write(folder: Path, kind: str) -> None:
    """Write both versions, the rows and the predictions."""
    import numpy as np
    import tensorflow as tf

    expected, alone = [], 0.0
    for version in (1, 2):
        model = build(kind, version)
        model.export(folder / str(version), verbose=False)
        rows = np.random.default_rng(0).random((ROWS, *model.input_shape[1:]), np.float32).round(3)
        served = tf.saved_model.load(str(folder / str(version))).signatures["serving_default"]
        (name,) = served.structured_input_signature[1]
        taken = []
        for row in rows:
            since = time.perf_counter()
            (output,) = served(**{name: tf.constant(row[None])}).values()
            taken.append(time.perf_counter() - since)
            expected.append(output.numpy()[0])
        alone = alone or statistics.median(taken) * 1e3
    np.save(folder / "rows.npy", rows)
    np.save(folder / "expected.npy", np.array(expected).reshape(2, ROWS, -1))
    (folder / "alone.json").write_text(json.dumps(alone))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
