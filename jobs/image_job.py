"""Base class of the built-in image classifiers: their datasets and the params that select them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from jobs.api import DataContext, Job
from jobs.data import arrays, keras_sets, synthetic
from jobs.data.synthetic import ImageSet, Shape

if TYPE_CHECKING:
    import tensorflow as tf

SYNTHETIC_TRAIN, SYNTHETIC_EVAL = 10_000, 2_000


class ImageJob(Job):
    """Images of `shape`, float32 in 0..1, ten classes, from `keras.datasets` or synthetic."""

    shape: ClassVar[Shape]

    class Params(Job.Params):
        """Subclasses restrict `data` to the name of their dataset in `keras_sets.SOURCES`, or `synthetic`."""

        data: str
        limit: int | None = Field(None, gt=0, description="use only this many training images")

    def images(self) -> ImageSet:
        """The whole dataset, as uint8."""
        if self.params.data == "synthetic":
            found = synthetic.images(self.shape, train=SYNTHETIC_TRAIN, evaluation=SYNTHETIC_EVAL)
        else:
            found = keras_sets.load(self.params.data)
        limit = self.params.limit
        return found._replace(x_train=found.x_train[:limit], y_train=found.y_train[:limit])

    def check_data(self) -> None:
        if self.params.data != "synthetic":
            keras_sets.check(self.params.data)

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        data = self.images()
        return arrays.batches((data.x_train, data.y_train), context, train=True, prepare=to_unit)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        data = self.images()
        return arrays.batches((data.x_eval, data.y_eval), context, train=False, prepare=to_unit)


def to_unit(images: tf.Tensor, labels: tf.Tensor) -> Any:
    """Convert uint8 images 0..255 to float32 0..1; labels are unchanged."""
    import tensorflow as tf

    return tf.cast(images, tf.float32) / 255.0, labels
