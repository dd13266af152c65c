"""A frozen base with a new head, then fine-tuning of both, as in "Transfer learning & fine-tuning"."""

import json

import keras
import numpy as np

keras.utils.set_random_seed(4)
images = np.random.rand(512, 10, 10, 3).astype("float32")
labels = (images[:, :5].mean(axis=(1, 2, 3)) > images[:, 5:].mean(axis=(1, 2, 3))).astype("int32")

inputs = keras.Input((10, 10, 3))
x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
x = keras.layers.BatchNormalization()(x)
base = keras.Model(inputs, x, name="base")
base.trainable = False

inputs = keras.Input(shape=(10, 10, 3))
x = keras.layers.Rescaling(scale=2.0, offset=-1)(inputs)
x = base(x, training=False)
x = keras.layers.GlobalAveragePooling2D()(x)
outputs = keras.layers.Dense(1)(x)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.Adam(),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy()],
)
model.fit(images, labels, batch_size=32, epochs=2, validation_split=0.25)

base.trainable = True
model.compile(
    optimizer=keras.optimizers.Adam(1e-3),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy()],
)
history = model.fit(images, labels, batch_size=32, epochs=2, validation_split=0.25)
model.save("tuned.keras")
print("history", json.dumps(history.history))
