"""Trains a head, then the whole model, as in transfer learning."""

import json

import keras
import numpy as np

keras.utils.set_random_seed(7)
x = np.random.normal(size=(640, 8)).astype("float32")
y = (x.sum(1) > 0).astype("int32")
base = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu")])
base.trainable = False
model = keras.Sequential([base, keras.layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

first = model.fit(x, y, epochs=1)
print("first", json.dumps(first.history))
base.trainable = True
model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
second = model.fit(x, y, epochs=3, initial_epoch=1)
print("second", json.dumps(second.history))
