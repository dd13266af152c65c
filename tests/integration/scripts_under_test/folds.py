"""Cross-validation: a new model per fold, whose callbacks write files that are read after each fit."""

import json
from pathlib import Path

import keras
import numpy as np

keras.utils.set_random_seed(3)
x = np.random.normal(size=(300, 6)).astype("float32")
y = (x[:, :3].sum(1) > x[:, 3:].sum(1)).astype("float32")
Path("folds").mkdir()


def train(fold):
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(12, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    held = np.arange(len(x)) % 3 == fold
    best = keras.callbacks.ModelCheckpoint(f"folds/{fold}.keras", save_best_only=True)
    stop = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    history = model.fit(
        x[~held], y[~held], batch_size=20, epochs=3, validation_data=(x[held], y[held]), callbacks=[best, stop]
    )
    saved = keras.models.load_model(f"folds/{fold}.keras").evaluate(x[held], y[held], verbose=0)
    return {**history.history, "best": [best.best, *saved], "stop": [stop.best, stop.wait, stop.stopped_epoch]}


for number in range(3):
    print(f"fold{number}", json.dumps(train(number)))
