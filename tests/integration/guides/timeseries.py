"""Windows of a series from `timeseries_dataset_from_array`, as in "Timeseries forecasting for weather prediction"."""

import json

import keras
import numpy as np

keras.utils.set_random_seed(3)
time = np.arange(700)
series = np.stack([np.sin(time / 20), np.cos(time / 7), np.random.normal(0, 0.1, 700)], axis=1).astype("float32")
series = (series - series[:500].mean(axis=0)) / series[:500].std(axis=0)


def windows(values):
    return keras.utils.timeseries_dataset_from_array(
        values[:-16], values[16:, 0], sequence_length=12, sampling_rate=1, batch_size=32
    )


train = windows(series[:539])  # 512 windows
valid = windows(series[539:])
for batch in train.take(1):
    inputs, targets = batch
print("Input shape:", inputs.numpy().shape)

inputs = keras.layers.Input(shape=(inputs.shape[1], inputs.shape[2]))
outputs = keras.layers.Dense(1)(keras.layers.GRU(8)(inputs))
model = keras.Model(inputs=inputs, outputs=outputs)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="mse")

path = "model_checkpoint.weights.h5"
stop = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=0, patience=5)
keep = keras.callbacks.ModelCheckpoint(
    monitor="val_loss", filepath=path, verbose=1, save_weights_only=True, save_best_only=True
)
history = model.fit(train, epochs=3, validation_data=valid, callbacks=[stop, keep])
model.load_weights(path)
print("best", float(model.evaluate(valid, verbose=0)))
print("history", json.dumps(history.history))
