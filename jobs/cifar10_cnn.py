"""`cifar10-cnn`: the classic small CIFAR-10 network, for comparing devices by time and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from jobs.image_job import ImageJob

if TYPE_CHECKING:
    import keras


class Cifar10Cnn(ImageJob):
    """The network of the TensorFlow tutorial: three 3x3 convolutions with max-pooling between them, dense 64, Adam."""

    shape = (32, 32, 3)

    class Params(ImageJob.Params):
        data: Literal["cifar10", "synthetic"] = Field(
            "cifar10", description="cifar10, or synthetic images of its shape"
        )
        filters: int = Field(32, gt=0, description="filters of the first convolution; the others have twice as many")
        learning_rate: float = Field(0.001, gt=0, description="Adam's step size")

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "samples": 500_000,
        "target": "val_accuracy>=0.65",
    }

    def build_model(self) -> keras.Model:
        import keras

        filters = self.params.filters
        model = keras.Sequential(
            [
                keras.Input(self.shape),
                keras.layers.Conv2D(filters, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(2 * filters, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(2 * filters, 3, activation="relu"),
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
