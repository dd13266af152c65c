"""Pre-training, more of it with the same optimizer, then fine-tuning below a new head, in a model that shares layers.

With `--kill`, the leader is killed once in each fit; with `--slow FOLDER`, the first epoch of each takes a while, and a
file there tells that it has begun to.
"""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--kill", type=Path)
parser.add_argument("--slow", type=Path)
given = parser.parse_args()


class Once(keras.callbacks.Callback):
    """Does what is asked for after an epoch, once."""

    def __init__(self, fit):
        super().__init__()
        self.fit = fit
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch)
        if epoch != 1:
            return
        if given.kill and not (mark := given.kill / f"killed-{self.fit}").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if given.slow and not (mark := given.slow / f"slow-{self.fit}").exists():
            mark.touch()
            time.sleep(4)


keras.utils.set_random_seed(11)
x = np.random.normal(size=(480, 8)).astype("float32")
y = np.stack([np.sin(x).sum(1), x[:, 0] * x[:, 1]], 1)
base = keras.Sequential([keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(8)], name="base")
first = keras.Sequential([base, keras.layers.Dense(2)])
schedule = keras.optimizers.schedules.ExponentialDecay(0.02, 20, 0.8)
first.compile(keras.optimizers.Adam(schedule), "mse")
called = Once(1)
history = first.fit(x, y, batch_size=40, epochs=3, validation_split=0.25, callbacks=[called])
print("first", json.dumps({**history.history, "seen": called.seen, "epochs": history.epoch}))

again = first.fit(x, y, batch_size=40, epochs=2, shuffle=False)
print("again", json.dumps(again.history))
features = base.predict(x, verbose=0)
print("features", json.dumps({"mean": [float(features.mean())], "iterations": [int(first.optimizer.iterations)]}))

base.layers[0].trainable = False
second = keras.Sequential([base, keras.layers.Dropout(0.0), keras.layers.Dense(1)])
second.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mae")
called = Once(3)
history = second.fit(x, y[:, :1] + features[:, :1], batch_size=40, epochs=3, validation_split=0.25, callbacks=[called])
print("second", json.dumps({**history.history, "seen": called.seen}))
print("scores", json.dumps({"first": [first.evaluate(x, y, verbose=0)]}))
