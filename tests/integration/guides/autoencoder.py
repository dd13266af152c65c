"""Noisy images in, clean images out, as in "Convolutional autoencoder for image denoising"."""

import json

import numpy as np
from keras import layers
from keras.models import Model
from keras.utils import set_random_seed


def noise(array):
    noisy = array + 0.4 * np.random.normal(loc=0.0, scale=1.0, size=array.shape)
    return np.clip(noisy, 0.0, 1.0)


def main():
    set_random_seed(5)
    clean = (np.random.rand(512, 8, 1, 1) > 0.5) * np.ones((1, 1, 8, 1))
    noisy = noise(clean)

    image = layers.Input(shape=(8, 8, 1))
    x = layers.Conv2D(8, (3, 3), activation="relu", padding="same")(image)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Conv2DTranspose(8, (3, 3), strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2D(1, (3, 3), activation="sigmoid", padding="same")(x)
    autoencoder = Model(image, x)
    autoencoder.compile(optimizer="adam", loss="binary_crossentropy")
    history = autoencoder.fit(
        x=noisy, y=clean, epochs=3, batch_size=64, shuffle=True, validation_data=(noisy[:64], clean[:64])
    )
    print("restored", autoencoder.predict(noisy[:10], verbose=0).shape)
    print("history", json.dumps(history.history))


if __name__ == "__main__":
    main()
