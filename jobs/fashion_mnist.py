"""`fashion-mnist`: augmentation, learning-rate decay, callbacks and, optionally, a custom `train_step`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from jobs import image_job
from jobs.api import DataContext
from jobs.data import arrays

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SHIFT = 2
"""Largest shift of an image by augmentation, in pixels."""


class FashionMnist(image_job.ImageJob):
    """Three convolutional layers trained with Adam on randomly flipped and shifted images."""

    shape = (28, 28, 1)

    class Params(image_job.ImageJob.Params):
        data: Literal["fashion-mnist", "synthetic"] = Field(
            "fashion-mnist", description="fashion-mnist, or synthetic images of its shape"
        )
        loop: Literal["fit", "custom"] = Field("fit", description="Keras' own train_step, or a custom one")
        augment: bool = Field(True, description="flip and shift the training images at random")
        learning_rate: float = Field(0.001, gt=0, description="Adam's initial step size")
        decay: Literal["schedule", "plateau", "none"] = Field(
            "schedule", description="times 0.9 every decay_steps, or times 0.3 when val_loss stalls"
        )
        decay_steps: int = Field(1_000, gt=0, description="updates between two decays of the schedule")
        patience: int = Field(5, gt=0, description="evaluations without a better val_loss until training stops")

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "samples": 600_000,
        "target": "val_accuracy>=0.88",
    }

    def build_model(self) -> keras.Model:
        import keras

        model_class = custom_loop_model() if self.params.loop == "custom" else keras.Sequential
        model = model_class(
            [
                keras.Input(self.shape),
                keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(64, activation="relu"),
                keras.layers.Dense(10, activation="softmax", dtype="float32"),
            ]
        )
        rate: Any = self.params.learning_rate
        if self.params.decay == "schedule":
            rate = keras.optimizers.schedules.ExponentialDecay(rate, self.params.decay_steps, decay_rate=0.9)
        model.compile(
            optimizer=keras.optimizers.Adam(rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        data = self.images()
        return arrays.batches(
            (data.x_train, data.y_train),
            context,
            train=True,
            prepare=image_job.to_unit,
            augment=flip_and_shift if self.params.augment else None,
        )

    def callbacks(self) -> list[keras.callbacks.Callback]:
        import keras

        callbacks = [
            keras.callbacks.EarlyStopping("val_loss", patience=self.params.patience),
            keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True),
        ]
        if self.params.decay == "plateau":
            patience = max(1, self.params.patience // 2)
            callbacks.append(keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=patience))
        return callbacks


def flip_and_shift(seed: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> Any:
    """Flip each image left to right at random, and shift it by up to `SHIFT` pixels along both axes."""
    import tensorflow as tf

    images = tf.image.stateless_random_flip_left_right(images, seed)
    shape = tf.shape(images)
    offsets = tf.random.stateless_uniform((shape[0], 2), seed + 1, 0, 2 * SHIFT + 1, tf.int32)
    padded = tf.pad(images, [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]])
    rows = offsets[:, :1] + tf.range(shape[1])
    columns = offsets[:, 1:] + tf.range(shape[2])
    moved = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    return tf.ensure_shape(moved, images.shape), labels


def custom_loop_model() -> type[keras.Model]:
    """A Sequential model with its own `train_step`, as in Keras' guide to customising `fit`."""
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("regatta")
    class CustomLoop(keras.Sequential):  # type: ignore[misc]
        def train_step(self, data: Any) -> dict[str, Any]:
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {metric.name: metric.result() for metric in self.metrics}

    return CustomLoop
