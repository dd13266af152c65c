"""Columns of numbers and words, with `Normalization.adapt`, as in "Structured data classification from scratch"."""

import csv
import json

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(7)
with open("patients.csv", "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["age", "pressure", "pain", "target"])
    for _ in range(480):
        age, pressure, pain = np.random.normal(50, 10), np.random.normal(120, 20), np.random.choice(["no", "some"])
        rows.writerow([age, pressure, pain, int(age + pressure / 4 + 10 * (pain == "some") > 85)])

with open("patients.csv", newline="") as file:
    table = list(csv.DictReader(file))
columns = {name: np.array([[float(row[name])] for row in table], "float32") for name in ("age", "pressure")}
columns["pain"] = np.array([[row["pain"]] for row in table])
target = np.array([[int(row["target"])] for row in table])
train = tf.data.Dataset.from_tensor_slices(({name: part[:384] for name, part in columns.items()}, target[:384]))
valid = tf.data.Dataset.from_tensor_slices(({name: part[384:] for name, part in columns.items()}, target[384:]))
train, valid = train.batch(32), valid.batch(32)


def encode_number(name):
    normalizer = layers.Normalization()
    normalizer.adapt(train.map(lambda x, y: x[name]))
    return normalizer


inputs = {name: keras.Input(shape=(1,), name=name) for name in ("age", "pressure")}
inputs["pain"] = keras.Input(shape=(1,), name="pain", dtype="string")
lookup = layers.StringLookup(output_mode="binary")
lookup.adapt(train.map(lambda x, y: x["pain"]))
features = layers.concatenate(
    [encode_number("age")(inputs["age"]), encode_number("pressure")(inputs["pressure"]), lookup(inputs["pain"])]
)
x = layers.Dense(16, activation="relu")(features)
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
history = model.fit(train, epochs=3, validation_data=valid)
sample = {"age": [[60.0]], "pressure": [[145.0]], "pain": [["some"]]}
print("sample", model.predict({name: tf.convert_to_tensor(value) for name, value in sample.items()}, verbose=0).shape)
print("history", json.dumps(history.history))
