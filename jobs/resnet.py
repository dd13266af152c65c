"""`resnet`: any architecture of `keras.applications`, untrained and unchanged."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from jobs.api import DataContext, Job
from jobs.data import arrays, folders, synthetic
from jobs.data.paths import existing

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

ARCHITECTURES = tuple(
    """
    ConvNeXtBase ConvNeXtLarge ConvNeXtSmall ConvNeXtTiny ConvNeXtXLarge DenseNet121 DenseNet169 DenseNet201
    EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4 EfficientNetB5 EfficientNetB6
    EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2L
    EfficientNetV2M EfficientNetV2S InceptionResNetV2 InceptionV3 MobileNet MobileNetV2 MobileNetV3Large
    MobileNetV3Small NASNetLarge NASNetMobile ResNet101 ResNet101V2 ResNet152 ResNet152V2 ResNet50 ResNet50V2
    VGG16 VGG19 Xception
    """.split()  # noqa: SIM905 - forty names, not forty lines
)
"""Listed here, so that a misspelt name is refused without importing Keras; a test compares the list with Keras."""


def _check_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        close = get_close_matches(name, ARCHITECTURES, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"not in keras.applications{hint}; it has {', '.join(ARCHITECTURES)}")
    return name


def _check_source(value: str) -> str:
    return value if value == "synthetic" else existing(value)


class ResNet(Job):
    """ResNet50, or another architecture (`arch`), on synthetic images or a folder of images."""

    class Params(Job.Params):
        arch: Annotated[str, AfterValidator(_check_architecture)] = Field(
            "ResNet50", description="a name in keras.applications"
        )
        data: Annotated[str, AfterValidator(_check_source)] = Field(
            "synthetic", description="synthetic, or a folder with one folder of images per class"
        )
        image_size: int = Field(64, ge=32, description="height and width; some architectures need at least 71 or 75")
        classes: int = Field(10, ge=2, description="number of classes of the synthetic images")
        limit: int = Field(2_000, gt=0, description="number of synthetic training images")
        learning_rate: float = Field(0.001, gt=0, description="Adam's step size")

    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 16, "samples": 20_000}

    def build_model(self) -> keras.Model:
        import keras

        size = self.params.image_size
        classes = self.params.classes
        if self.params.data != "synthetic":
            classes = len(folders.find(self.params.data).classes)
        architecture = getattr(keras.applications, self.params.arch)
        model = architecture(weights=None, input_shape=(size, size, 3), classes=classes)
        model.compile(
            optimizer=keras.optimizers.Adam(self.params.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def check_data(self) -> None:
        if self.params.data != "synthetic":
            folders.find(self.params.data)

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        return self._batches(context, train=True)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        return self._batches(context, train=False)

    def _batches(self, context: DataContext, *, train: bool) -> tf.data.Dataset:
        size = self.params.image_size
        if self.params.data != "synthetic":
            files = folders.find(self.params.data)
            items = files.train if train else files.evaluation
            return folders.batches(items, size, context, train=train).map(self._preprocess)
        limit = self.params.limit
        data = synthetic.images((size, size, 3), self.params.classes, limit, max(1, limit // 5))
        pair = (data.x_train, data.y_train) if train else (data.x_eval, data.y_eval)
        return arrays.batches(pair, context, train=train, prepare=self._preprocess)

    def _preprocess(self, images: tf.Tensor, labels: tf.Tensor) -> Any:
        """Scale images with the architecture's own `preprocess_input`, which its module in Keras defines."""
        import keras
        import tensorflow as tf

        module = sys.modules[getattr(keras.applications, self.params.arch).__module__]
        return module.preprocess_input(tf.cast(images, tf.float32)), labels
