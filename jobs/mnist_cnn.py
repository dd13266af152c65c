"""`mnist-cnn`: a small convolutional classifier, used as the compute-bound benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from jobs.image_job import ImageJob

if TYPE_CHECKING:
    import keras


class MnistCnn(ImageJob):
    """Conv 32 3x3, conv 64 3x3 stride 2, max-pool, dense 64, Adam."""

    shape = (28, 28, 1)

    class Params(ImageJob.Params):
        data: Literal["mnist", "synthetic"] = Field("mnist", description="mnist, or synthetic images of its shape")
        learning_rate: float = Field(0.001, gt=0, description="Adam's step size")

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "samples": 180_000,
        "target": "val_accuracy>=0.97",
    }

    def build_model(self) -> keras.Model:
        import keras

        model = keras.Sequential(
            [
                keras.Input(self.shape),
                keras.layers.Conv2D(32, 3, activation="relu"),
                keras.layers.Conv2D(64, 3, strides=2, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Flatten(),
                keras.layers.Dense(64, activation="relu"),
                keras.layers.Dense(10, activation="softmax", dtype="float32"),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(self.params.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model
