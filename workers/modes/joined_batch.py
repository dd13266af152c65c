"""What makes a synchronous step of n replicas equal to one process' step on their joined batches.

Every replica computes the mean loss of its own batch as if it were alone, and gradients and logs are averaged.
Since batches are equally large, the mean of the means is the mean over the joined batch. This holds for any
code: Keras' losses, a loss function that returns its batch's mean, `add_loss`, regularisers, a `train_step`
written out by hand. What is a sum over the batch (`reduction="sum"`) is counted n times, so that its mean over
replicas is the sum over the joined batch.

docs/exactness.md lists what has no such equality: batch statistics, dropout, masks, losses that couple samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workers.errors import UnsupportedOptimizerError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@contextmanager
def as_if_alone(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """While a step is traced, `num_replicas_in_sync` reads 1.

    Keras divides its own losses by it (`scale_loss_for_distribution`) and multiplies its own logs, and so does
    code written after TensorFlow's tutorials; code after Keras' guides does not. Only one rule can serve them all.
    """
    kind = type(strategy)
    kind.num_replicas_in_sync = property(lambda _: 1)
    try:
        yield
    finally:
        del kind.num_replicas_in_sync  # the base class' own shows again


def count_sums_for_all(model: keras.Model, divisor: Callable[[], float]) -> None:
    """Make the compiled losses with `reduction="sum"` count as often as gradients are divided; built models only.

    `divisor` is asked when a step is traced.
    """
    compiled = getattr(model, "_compile_loss", None)
    if compiled is None or not compiled.built:
        return
    compiled._flat_losses = [
        entry._replace(loss=_times(entry.loss, divisor)) if getattr(entry.loss, "reduction", None) == "sum" else entry
        for entry in compiled._flat_losses
    ]


def refuse_unsupported(optimizer: keras.Optimizer) -> None:
    """Raises UnsupportedOptimizerError for what Keras cannot do under a strategy with several replicas.

    Both put the update into a conditional, where TensorFlow allows no meeting of replicas (`merge_call`).
    """
    innermost = getattr(optimizer, "inner_optimizer", optimizer)
    for setting in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        value = getattr(innermost, setting, None)
        if value:
            raise UnsupportedOptimizerError(
                f"the optimizer's {setting}={value} does not work with several replicas in mode sync: Keras cannot do "
                "it under tf.distribute. Leave it out (more workers accumulate as well), or train with one worker."
            )


def _times(loss: Any, factor: Callable[[], float]) -> Any:
    def scaled(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return loss(y_true, y_pred, sample_weight) * factor()

    return scaled
