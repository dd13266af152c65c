"""A bidirectional LSTM on sequences of words, as in "Bidirectional LSTM on IMDB"."""

import json

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

keras.utils.set_random_seed(12)
labels = np.random.randint(0, 2, 320)
reviews = [np.random.randint(1 + 9 * label, 15 + 9 * label, np.random.randint(5, 20)) for label in labels]
x = keras.utils.pad_sequences(reviews, maxlen=12)

inputs = keras.Input(shape=(None,), dtype="int32")
embedded = layers.Embedding(30, 8)(inputs)
memory = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(embedded)
memory = layers.Bidirectional(layers.LSTM(8))(memory)
outputs = layers.Dense(1, activation="sigmoid")(memory)
model = keras.Model(inputs, outputs)
rate = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=5, decay_rate=0.9)
model.compile(optimizer=keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"])
history = model.fit(x[:256], labels[:256], batch_size=32, epochs=2, validation_data=(x[256:], labels[256:]))
print("history", json.dumps(history.history))
