"""Batches from a Python generator for training and from a `PyDataset` for validation."""

import argparse
import json
import math

import keras
import numpy as np


class Squares(keras.utils.PyDataset):
    def __init__(self, x, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.x, self.batch_size = x, batch_size

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index):
        x = self.x[index * self.batch_size : (index + 1) * self.batch_size]
        return x, np.square(x).sum(axis=1)


def batches(batch_size):
    random = np.random.default_rng(3)
    while True:
        x = random.normal(size=(batch_size, 4)).astype("float32")
        yield x, np.square(x).sum(axis=1)


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--epochs", type=int, default=2)
args = parser.parse_args()

keras.utils.set_random_seed(11)
model = keras.Sequential([keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.01), loss=keras.losses.Huber(), metrics=["mae"])
history = model.fit(
    batches(args.batch_size),
    steps_per_epoch=8,
    epochs=args.epochs,
    validation_data=Squares(np.random.default_rng(4).normal(size=(100, 4)).astype("float32"), args.batch_size),
)
print("history", json.dumps(history.history))
