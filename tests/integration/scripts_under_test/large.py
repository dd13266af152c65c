"""Trains on many megabytes of arrays, and prints what memory all tasks of the host hold together meanwhile."""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np


def held():
    """Megabytes and number of the processes forked from the same one as this; what they share counts once."""
    kilobytes, files, tasks = 0, {}, 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) != os.getppid():
                continue
            tasks += 1
            for line in (process / "smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_File:")):
                    kilobytes += int(line.split()[1])
            for opened in (process / "fd").iterdir():
                if "regatta-array" in os.readlink(opened):
                    files[opened.stat().st_ino] = opened.stat().st_blocks // 2
        except OSError:
            continue
    return (kilobytes + sum(files.values())) // 1024, tasks


class Held(keras.callbacks.Callback):
    """Measures when all tasks train."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            megabytes, tasks = held()
            print("held", json.dumps({"megabytes": megabytes, "tasks": tasks}))


keras.utils.set_random_seed(1)
features = 1001  # no whole number of pages
samples = int(sys.argv[1]) * (1 << 20) // 4 // features
x = np.arange(samples * features, dtype="float32").reshape(samples, features) % 17
x /= 17
y = x[:, :1] + x[:, 500:501]
model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(1e-4), "mse")
history = model.fit(x, y, batch_size=240, epochs=2, steps_per_epoch=8, validation_split=0.01, callbacks=[Held()])
print("history", json.dumps(history.history))
print("after", json.dumps({"sum": float(x[:1000].sum())}))
