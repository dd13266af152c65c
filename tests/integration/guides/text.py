"""Text from raw strings with TextVectorization, as in "Text classification from scratch"."""

import json
import string

import keras
import numpy as np
import tensorflow as tf
from tensorflow.keras import layers

keras.utils.set_random_seed(2)
words = {0: ["dull", "slow", "flat", "sad"], 1: ["bright", "quick", "fine", "glad"]}
labels = np.random.randint(0, 2, 512)
texts = [" ".join(np.random.choice(words[label] + list(string.ascii_lowercase), 12)) + "!" for label in labels]
train = tf.data.Dataset.from_tensor_slices((texts[:384], labels[:384])).batch(32)
valid = tf.data.Dataset.from_tensor_slices((texts[384:], labels[384:])).batch(32)


def standardize(text):
    return tf.strings.regex_replace(tf.strings.lower(text), f"[{string.punctuation}]", "")


vectorize = layers.TextVectorization(
    standardize=standardize, max_tokens=100, output_mode="int", output_sequence_length=16
)
vectorize.adapt(train.map(lambda text, label: text))


def vectorized(text, label):
    return vectorize(tf.expand_dims(text, -1)), label


train = train.map(vectorized).cache().prefetch(buffer_size=10)
valid = valid.map(vectorized).cache().prefetch(buffer_size=10)

inputs = keras.Input(shape=(None,), dtype="int64")
x = layers.Embedding(100, 16)(inputs)
x = layers.Conv1D(16, 3, padding="valid", activation="relu", strides=3)(x)
x = layers.GlobalMaxPooling1D()(x)
outputs = layers.Dense(1, activation="sigmoid", name="predictions")(x)
model = keras.Model(inputs, outputs)
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
history = model.fit(train, validation_data=valid, epochs=3)

end_to_end = keras.Sequential([keras.Input(shape=(1,), dtype="string"), vectorize, model])
print("probability", end_to_end.predict(tf.constant([["a glad and bright day"]]), verbose=0).shape)
print("history", json.dumps(history.history))
