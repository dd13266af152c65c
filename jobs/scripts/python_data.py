"""Data that a script makes batch by batch in Python: a `PyDataset`, or a generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from jobs.scripts.errors import ScriptError

if TYPE_CHECKING:
    import tensorflow as tf


class Batches:
    """A `PyDataset`: a batch by its number."""

    def __init__(self, name: str, source: Any, steps: int | None, class_weight: Any) -> None:
        from keras.src.trainers.data_adapters import data_adapter_utils

        self._source = source
        self._class_weight = class_weight
        self._pack = data_adapter_utils
        try:
            self._count: int | None = len(source)
        except (TypeError, NotImplementedError):
            self._count = source.num_batches
        if self._count is None and not steps:
            raise ScriptError(f"{name} is a PyDataset without an end, so its epochs need steps_per_epoch=... in fit.")
        self._first = self._batch(0)
        self.batch_size = rows(self._first, name)
        self.samples_per_epoch: int | None = (steps or self._count or 0) * self.batch_size

    def dataset(self, shift: int = 0) -> tf.data.Dataset:
        return from_python(signature_of(self._first), self._epoch)

    def pass_over(self, epochs: int) -> None:
        """Tell it that so many epochs have ended, upon which it may have shuffled."""
        for _ in range(epochs):
            self._source.on_epoch_end()

    def _epoch(self) -> Iterator[Any]:
        number = 0
        while self._count is None or number < self._count:
            yield self._batch(number)
            number += 1
        self._source.on_epoch_end()

    def _batch(self, number: int) -> Any:
        parts = self._pack.unpack_x_y_sample_weight(self._source[number])
        x, y, weight = parts
        if self._class_weight is not None:
            weight = self._pack.class_weight_to_sample_weights(y, self._class_weight)
        return self._pack.pack_x_y_sample_weight(x, y, weight)


class Stream:
    """A generator, which can be read once. What was read first is kept, because its shapes are asked for before."""

    _KEPT = 256

    def __init__(self, name: str, adapter: Any, steps: int | None) -> None:
        if not steps:
            raise ScriptError(f"{name} is a generator, whose epochs need steps_per_epoch=... or validation_steps=...")
        self._source = iter(adapter.get_numpy_iterator())
        self._kept: list[Any] = []
        self._gone = 0
        self._name = name
        self._first = next(self._replayed(), None)
        self.batch_size = rows(self._first, name)
        self.samples_per_epoch: int | None = steps * self.batch_size
        self._steps = steps

    def dataset(self, shift: int = 0) -> tf.data.Dataset:
        return from_python(signature_of(self._first), self._replayed)

    def pass_over(self, epochs: int) -> None:
        """Read what `fit` reads in so many epochs, so that another `fit` of the same generator gets what follows."""
        for _ in islice(self._replayed(), epochs * self._steps):
            pass

    def _replayed(self) -> Iterator[Any]:
        if self._gone:
            raise ScriptError(f"{self._name} is a generator, which cannot be read a second time.")
        number = 0
        while True:
            if number < len(self._kept):
                yield self._kept[number]
            else:
                batch = next(self._source, None)
                if batch is None:
                    return
                if number < self._KEPT:
                    self._kept.append(batch)
                else:
                    self._gone += 1
                yield batch
            number += 1


def from_python(signature: Any, make: Callable[[], Iterator[Any]]) -> tf.data.Dataset:
    import tensorflow as tf

    return tf.data.Dataset.from_generator(make, output_signature=signature)


def signature_of(batch: Any) -> Any:
    """The shapes and types of batches like `batch`, of any number of rows."""
    import numpy as np
    import tensorflow as tf

    def one(part: Any) -> Any:
        array = np.asarray(part)
        return tf.TensorSpec([None, *array.shape[1:]], tf.as_dtype(array.dtype))

    return tf.nest.map_structure(one, batch)


def rows(batch: Any, name: str) -> int:
    import tensorflow as tf

    if batch is None:
        raise ScriptError(f"{name} is empty: it yields no batch at all.")
    return int(math.prod(tf.nest.flatten(batch)[0].shape[:1]))
