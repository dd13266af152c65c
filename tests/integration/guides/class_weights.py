"""Few positives among many negatives, as in "Imbalanced classification: credit card fraud detection"."""

import json

import keras
import numpy as np

keras.utils.set_random_seed(10)
features = np.random.normal(size=(640, 8)).astype("float32")
targets = (features[:, 0] + features[:, 1] > 2).astype("uint8")[:, None]
counts = np.bincount(targets[:512, 0])
print(f"Number of positive samples in training data: {counts[1]} ({100 * counts[1] / 512:.2f}% of total)")
features -= features[:512].mean(axis=0)
features /= features[:512].std(axis=0)

model = keras.Sequential(
    [keras.Input(shape=features.shape[1:]), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1, "sigmoid")]
)
metrics = [keras.metrics.FalsePositives(name="fp"), keras.metrics.Recall(name="recall"), "accuracy"]
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=metrics)
history = model.fit(
    features[:512],
    targets[:512],
    batch_size=64,
    epochs=3,
    verbose=2,
    callbacks=[keras.callbacks.ModelCheckpoint("fraud_model_at_epoch_{epoch}.keras")],
    validation_data=(features[512:], targets[512:]),
    class_weight={0: 1.0 / counts[0], 1: 1.0 / counts[1]},
)
print("history", json.dumps(history.history))
