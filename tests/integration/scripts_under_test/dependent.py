"""The epochs and the batch size of the second `fit` depend on what the first has come to."""

import json

import keras
import numpy as np

keras.utils.set_random_seed(5)
x = np.random.normal(size=(128, 4)).astype("float32")
y = x.sum(1, keepdims=True)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.05), "mse")
first = model.fit(x, y, epochs=2)
falls = first.history["loss"][0] > first.history["loss"][-1]
history = model.fit(x, y, batch_size=32 if falls else 16, epochs=3 if falls else 1)
print("history", json.dumps(history.history))
