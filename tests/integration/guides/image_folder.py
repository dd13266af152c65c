"""Images in folders by class, as in "Image classification from scratch"."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(8)
for label in ("cat", "dog"):
    Path("pets", label).mkdir(parents=True, exist_ok=True)
    for number in range(80):
        image = np.random.randint(0, 128, (12, 12, 3), np.uint8)
        image[:6] += 100 * (label == "cat")
        tf.io.write_file(f"pets/{label}/{number}.png", tf.io.encode_png(image))
print("classes", sorted(os.listdir("pets")))

train, valid = keras.utils.image_dataset_from_directory(
    "pets", validation_split=0.2, subset="both", seed=1337, image_size=(10, 10), batch_size=16
)
train = train.map(lambda image, label: (image / 255.0, label), num_parallel_calls=tf.data.AUTOTUNE)
train, valid = train.prefetch(tf.data.AUTOTUNE), valid.map(lambda image, label: (image / 255.0, label))

inputs = keras.Input(shape=(10, 10, 3))
x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
x = layers.GlobalAveragePooling2D()(x)
x = layers.Dropout(0.25)(x)
outputs = layers.Dense(1, activation=None)(x)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy(name="acc")],
)
callbacks = [keras.callbacks.ModelCheckpoint("save_at_{epoch}.keras")]
history = model.fit(train, epochs=3, callbacks=callbacks, validation_data=valid)
image = keras.utils.img_to_array(keras.utils.load_img("pets/cat/0.png", target_size=(10, 10)))
print("score", model.predict(image[None], verbose=0).shape, max(Path().glob("save_at_*.keras")))
print("history", json.dumps(history.history))
