"""A script as people write them: arguments, a module beside it, callbacks, and code after `fit`."""

import argparse
import json
import os

import images_model
import keras
import numpy as np


class Note(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("epoch", epoch, sorted(logs))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--reads", help="a file that gets a line whenever the data are read")
    args = parser.parse_args()
    if args.reads:
        with open(args.reads, "a") as file:
            file.write(f"{os.getpid()}\n")
    keras.utils.set_random_seed(1)
    x = np.random.normal(size=(800, 8, 8, 1)).astype("float32")
    y = (x.mean((1, 2, 3)) > 0).astype("int32")
    model = images_model.build()
    history = model.fit(
        x,
        y,
        epochs=args.epochs,
        validation_split=0.2,
        class_weight={0: 1.0, 1: 2.0},
        callbacks=[Note(), keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True)],
    )
    print("history", json.dumps(history.history), history.epoch)
    print("scores", json.dumps(model.evaluate(x, y, return_dict=True, verbose=0)))
    best = keras.models.load_model("best.keras")
    print("best", json.dumps(best.evaluate(x, y, return_dict=True, verbose=0)))


if __name__ == "__main__":
    main()
