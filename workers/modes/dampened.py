"""Asynchronous mode in which a gradient counts the less, the staler it is: it is multiplied by 1/(1 + its staleness).

Staleness is counted where the weights are, when all of the gradient has arrived there. Optimizers that divide by the
size of past gradients (Adam, RMSprop) undo a factor that hardly changes: with them it differs little from `async`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.modes.async_ import AsyncMode

if TYPE_CHECKING:
    import tensorflow as tf


def _by_staleness(staleness: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return 1.0 / (1.0 + tf.cast(staleness, tf.float32))


class DampenedMode(AsyncMode):
    """The chief of an asynchronous worker group whose stale gradients count less."""

    weigh = staticmethod(_by_staleness)
