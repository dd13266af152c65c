"""`two-stage`: model parallelism, with the layers of one model on two devices of a worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from jobs.api import DataContext, Job
from jobs.digits import Digits

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class TwoStage(Job):
    """Classifies the optical digits with two dense stages, each on a device of its own."""

    class Params(Job.Params):
        devices: str = Field(
            "auto",
            pattern=r"^(auto|(CPU|GPU):\d+,(CPU|GPU):\d+)$",
            description="devices of the stages, such as GPU:0,GPU:1; auto: two GPUs if available, else two CPUs",
        )
        width: int = Field(256, gt=0, description="units of each stage's layers")
        learning_rate: float = Field(0.002, gt=0, description="Adam's step size")

    defaults: ClassVar[Mapping[str, Any]] = {**Digits.defaults, "devices_per_replica": 2}

    def build_model(self) -> keras.Model:
        import keras

        first, second = self.devices()
        stage = stage_class()
        width = self.params.width
        model = keras.Sequential(
            [
                keras.Input((64,)),
                stage([width, width], device=first, name="stage1"),
                stage([width], device=second, name="stage2"),
                stage([10], device=second, activation="softmax", name="output"),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(self.params.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        return Digits().train_dataset(context)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        return Digits().eval_dataset(context)

    def devices(self) -> tuple[str, str]:
        """Names of the two devices, such as `GPU:0`, relative to the worker that runs the step."""
        import tensorflow as tf

        if self.params.devices != "auto":
            first, second = self.params.devices.split(",")
            return first, second
        for kind in ("GPU", "CPU"):
            # In a cluster the devices of other tasks are listed too, under the same numbers.
            names = sorted({device.name.rpartition("device:")[2] for device in tf.config.list_logical_devices(kind)})
            if len(names) > 1:
                return names[0], names[1]
        logging.getLogger(__name__).warning("two-stage: CPU:0 is the only device, so both stages run on it")
        return "CPU:0", "CPU:0"


def stage_class() -> type[keras.layers.Layer]:
    """Layer class: a stack of dense layers whose variables and computation are placed on one device."""
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("regatta")
    class Stage(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, units: list[int], device: str, activation: str = "relu", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units, self.device, self.activation = units, device, activation
            self.stack = [keras.layers.Dense(count, activation=activation) for count in units]

        def build(self, input_shape: tuple[int | None, ...]) -> None:
            with tf.device(self.device):
                for layer in self.stack:
                    layer.build(input_shape)
                    input_shape = layer.compute_output_shape(input_shape)
            self.built = True

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            with tf.device(self.device):
                for layer in self.stack:
                    inputs = layer(inputs)
            return inputs

        def get_config(self) -> dict[str, Any]:
            return {
                **super().get_config(),
                "units": self.units,
                "device": self.device,
                "activation": self.activation,
            }

    return Stage
