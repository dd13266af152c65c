"""Makes a synchronous step of n replicas equal to one process' step on their joined batches.

Every replica computes the mean loss of its own batch as if it were alone, and gradients and logs are averaged. Batches
have the same size, so the mean of the means is the mean over the joined batch. This holds for any code: Keras' losses,
a loss function that returns its batch's mean, `add_loss`, regularisers, a hand-written `train_step`. A loss that is a
sum over the batch (`reduction="sum"`) is multiplied by n, so that its mean over replicas is the sum over the joined
batch.

docs/exactness.md lists what is not equal: batch statistics, dropout, masks, losses that couple samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@contextmanager
def as_if_alone(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Have `num_replicas_in_sync` read 1 while a step is traced.

    Keras divides its own losses by it (`scale_loss_for_distribution`) and multiplies its own logs, as does code that
    follows TensorFlow's tutorials; code that follows Keras' guides does not. Reading 1 makes all of them right.
    """
    kind = type(strategy)
    kind.num_replicas_in_sync = property(lambda _: 1)
    try:
        yield
    finally:
        del kind.num_replicas_in_sync  # uncovers the base class' own


def multiply_sum_losses(model: keras.Model, divisor: Callable[[], float]) -> None:
    """Multiply the compiled losses with `reduction="sum"` by what gradients are divided by; the model must be built.

    `divisor` is called whenever a step is traced.
    """
    compiled = getattr(model, "_compile_loss", None)
    if compiled is None or not compiled.built:
        return
    compiled._flat_losses = [
        entry._replace(loss=_times(entry.loss, divisor)) if getattr(entry.loss, "reduction", None) == "sum" else entry
        for entry in compiled._flat_losses
    ]


def _times(loss: Any, factor: Callable[[], float]) -> Any:
    def scaled(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return loss(y_true, y_pred, sample_weight) * factor()

    return scaled
