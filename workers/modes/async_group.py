"""What the chief of an asynchronous group needs of its workers, wherever the weights are."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from workers.errors import DataError
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from workers.news import FloatArray, IntArray

_T = TypeVar("_T")


@dataclass(frozen=True)
class Outcome:
    """What a worker returns of a call of k steps."""

    logs: FloatArray
    """What each step logged: shape (k, names)."""
    numbers: IntArray
    """The number of each update, from 1."""
    reads: IntArray
    """The number of updates applied when each step read the weights, and after the last: k + 1 numbers."""
    busy: float | None
    """Seconds that the steps took; None if not measured."""
    input_wait: float | None
    """Seconds of them spent waiting for the next batch; None if not measured."""


class AsyncGroup(Protocol):
    """The workers of an asynchronous group, and the training state that they share."""

    model: keras.Model
    """The job's model, whose variables are in the order of the state's arrays."""

    @property
    def log_names(self) -> tuple[str, ...]:
        """Names of the columns of `Outcome.logs`."""

    @property
    def count(self) -> int:
        """The number of updates applied, of gradients where they are gathered."""

    def scale_schedule(self, factor: float) -> None:
        """Multiply the rates of the optimizer's learning-rate schedule by `factor`."""

    def begin(self, start: Snapshot, seed: int) -> None:
        """Load `start`, count from its step on, and open the data for `seed` on every worker."""

    def write(self, start: Snapshot) -> None:
        """Put the shared state into that of `start`, without counting."""

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the compiled optimizer, for the steps that follow."""

    def read(self) -> tuple[int, tuple[npt.NDArray[Any], ...], tuple[npt.NDArray[Any], ...]]:
        """The count, the weights and the optimizers' variables now."""

    def schedule(self, function: Callable[[int], None]) -> None:
        """Call `function` with the next free worker, in that worker's thread; again if the worker is lost meanwhile."""

    def run(self, worker: int, steps: int) -> Outcome:
        """Take `steps` steps on `worker`, in its thread."""

    def get(self, source: queue.SimpleQueue[_T]) -> _T:
        """Wait for the next item of `source`; raises what a function raised, instead of waiting forever."""


def rows(flat: np.ndarray[Any, Any], steps: int) -> FloatArray:
    """The logs of `steps` steps, from one after another to one below another."""
    table: FloatArray = flat.reshape(steps, -1).astype("float64")
    return table


def endless(worker: int, function: Callable[..., _T], *arguments: Any) -> _T:
    """Call `function`, which reads the endless data of `worker`.

    Raises:
        DataError: the data ended.
    """
    import tensorflow as tf

    try:
        return function(*arguments)
    except tf.errors.OutOfRangeError as error:
        if "End of sequence" not in str(error):
            raise
        raise DataError(
            f"train_dataset has no samples for worker:{worker}, or it ended: every worker needs at least one batch of "
            "its own. Give it as many files or shards as there are workers, or use --sharding data."
        ) from error


def weighed(pairs: Iterable[tuple[Any, Any]], weight: tf.Tensor) -> list[tuple[Any, Any]]:
    """The same pairs of gradient and variable, with gradients multiplied by `weight` where their variables are."""
    import tensorflow as tf

    def product(gradient: Any, variable: Any) -> Any:
        with tf.device(variable.device):
            if isinstance(gradient, tf.IndexedSlices):
                values = gradient.values * tf.cast(weight, gradient.values.dtype)
                return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
            return gradient * tf.cast(weight, gradient.dtype)

    return [(None if g is None else product(g, variable), variable) for g, variable in pairs]
