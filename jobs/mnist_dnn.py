"""`mnist-dnn`: a deep dense classifier whose first hidden layers can come from an earlier run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from jobs.data.errors import DataFileError, reading
from jobs.data.paths import ExistingPath
from jobs.image_job import ImageJob

if TYPE_CHECKING:
    import keras

HIDDEN = (300, 50, 50, 50, 20)
REUSED = ("hidden1", "hidden2", "hidden3")


class MnistDnn(ImageJob):
    """784-300-50-50-50-20-10 with ReLU. With `reuse`, `hidden1` to `hidden3` come from a saved model."""

    shape = (28, 28, 1)

    class Params(ImageJob.Params):
        data: Literal["mnist", "synthetic"] = Field("mnist", description="mnist, or synthetic images of its shape")
        learning_rate: float = Field(0.02, gt=0, description="SGD's step size")
        reuse: ExistingPath | None = Field(
            None,
            description="folder of an earlier mnist-dnn run, or its .keras or .weights.h5 file",
        )
        freeze: bool = Field(True, description="with reuse: do not train the reused layers")

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 50,
        "samples": 600_000,
        "target": "val_accuracy>=0.95",
    }

    def check_data(self) -> None:
        super().check_data()
        if self.params.reuse is not None:
            saved_layers(final_weights(Path(self.params.reuse)), REUSED)

    def build_model(self) -> keras.Model:
        import keras

        model = keras.Sequential([keras.Input(self.shape), keras.layers.Flatten()])
        for number, units in enumerate(HIDDEN, start=1):
            model.add(
                keras.layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"hidden{number}")
            )
        model.add(keras.layers.Dense(10, activation="softmax", dtype="float32", name="output"))
        if self.params.reuse is not None:
            saved = saved_layers(final_weights(Path(self.params.reuse)), REUSED)
            for name in REUSED:
                layer = model.get_layer(name)
                layer.set_weights(saved[name])
                layer.trainable = not self.params.freeze
        model.compile(
            optimizer=keras.optimizers.SGD(self.params.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model


def final_weights(path: Path) -> Path:
    """The weights file: `path` itself, or the final weights of the run in folder `path` (docs/jobs.md)."""
    return path / "checkpoints" / "final.weights.h5" if path.is_dir() else path


def saved_layers(path: Path, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Read the weights of the layers `names` from the file of a saved model, without building that model.

    Under a distribution strategy `keras.models.load_model` would create that model's variables on every replica or
    parameter server.

    Raises:
        DataFileError: `path` is not a Keras file, or lacks one of the layers.
    """
    import h5py

    with reading(path, "Keras .keras or .weights.h5 file", OSError, KeyError, zipfile.BadZipFile):
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stored:
                layers = _by_name(h5py.File(stored))
        else:
            layers = _by_name(h5py.File(path))
    absent = [name for name in names if name not in layers]
    if absent:
        raise DataFileError(path, f"has no layer {', '.join(absent)}; it has {', '.join(layers) or 'none'}")
    return {name: layers[name] for name in names}


def _by_name(file: Any) -> dict[str, list[Any]]:
    """Read all layers: Keras stores the variables of each as datasets 0, 1, ... in a group with the layer's name."""
    layers: dict[str, list[Any]] = {}

    def visit(_: str, group: Any) -> None:
        name = group.attrs.get("name")
        if name is not None and len(group):
            layers[str(name)] = [group[key][()] for key in sorted(group, key=int)]

    with file:
        file["layers"].visititems(visit)
    return layers
