"""Pairs of images and a contrastive loss, as in "Image similarity estimation using a Siamese network"."""

import json
import random

import keras
import numpy as np
from keras import ops

keras.utils.set_random_seed(9)


def make_pairs(x, y):
    digits = [np.where(y == label)[0] for label in range(3)]
    pairs, labels = [], []
    for first, label in enumerate(y):
        same = random.choice(digits[label])
        other = random.choice(digits[(label + random.randint(1, 2)) % 3])
        pairs += [[x[first], x[same]], [x[first], x[other]]]
        labels += [0, 1]
    return np.array(pairs), np.array(labels).astype("float32")


y = np.random.randint(0, 3, 256)
x = (np.eye(3)[y].repeat(4, axis=1) + np.random.normal(0, 0.3, (256, 12))).astype("float32")
pairs, labels = make_pairs(x, y)


@keras.saving.register_keras_serializable()
def euclidean_distance(vectors):
    one, two = vectors
    return ops.sqrt(ops.maximum(ops.sum(ops.square(one - two), axis=1, keepdims=True), keras.backend.epsilon()))


def loss(margin=1):
    def contrastive_loss(y_true, y_pred):
        apart = ops.square(ops.maximum(margin - y_pred, 0))
        return ops.mean((1 - y_true) * ops.square(y_pred) + y_true * apart)

    return contrastive_loss


inputs = keras.layers.Input((12,))
embedding = keras.Model(inputs, keras.layers.Dense(4, activation="tanh")(inputs))
left, right = keras.layers.Input((12,)), keras.layers.Input((12,))
merge = keras.layers.Lambda(euclidean_distance, output_shape=(1,))([embedding(left), embedding(right)])
siamese = keras.Model(inputs=[left, right], outputs=keras.layers.Dense(1, activation="sigmoid")(merge))
siamese.compile(loss=loss(margin=1), optimizer="RMSprop", metrics=["accuracy"])
history = siamese.fit(
    [pairs[:, 0], pairs[:, 1]], labels, validation_data=([pairs[:64, 0], pairs[:64, 1]], labels[:64]),
    batch_size=32, epochs=3,
)  # fmt: skip
print("history", json.dumps(history.history))
