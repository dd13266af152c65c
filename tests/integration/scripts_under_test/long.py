"""A script whose training takes long enough to be interrupted."""

import json

import keras
import numpy as np

keras.utils.set_random_seed(3)
x = np.random.normal(size=(4096, 16)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))
model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="tanh"), keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])
history = model.fit(
    x, y, epochs=24, validation_data=(x[:512], y[:512]), callbacks=[keras.callbacks.CSVLogger("log.csv")]
)
print("history", json.dumps({"epochs": history.epoch, "keys": sorted(history.history)}))
print("evaluated", json.dumps(model.evaluate(x, y, return_dict=True, verbose=0)))
