"""A convolutional network on arrays of images, as in Keras' "Simple MNIST convnet"."""

import json

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(1)
labels = np.random.randint(0, 4, 640)
images = np.random.rand(640, 12, 12).astype("float32") / 2
for number, label in enumerate(labels):
    images[number, 3 * label : 3 * label + 3] += 0.5
images = np.expand_dims(images, -1)
targets = keras.utils.to_categorical(labels, 4)

model = keras.Sequential(
    [
        keras.Input(shape=(12, 12, 1)),
        layers.Conv2D(8, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dense(4, activation="softmax"),
    ]
)
model.summary()
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
history = model.fit(images, targets, batch_size=64, epochs=3, validation_split=0.2)

score = model.evaluate(images, targets, verbose=0)
print("Test loss:", score[0])
print("history", json.dumps(history.history))
