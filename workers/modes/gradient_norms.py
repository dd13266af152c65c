"""Square norms of gradients before and after averaging over replicas, from which the noise scale is estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.messages import LARGE_BATCH_NORM, SMALL_BATCH_NORM

if TYPE_CHECKING:
    import tensorflow as tf


class SquareNorms:
    """Square norms within the step that is being traced, over the gradients of all its optimizers together."""

    def __init__(self) -> None:
        self._small: list[tf.Tensor] = []
        self._big: list[tf.Tensor] = []

    def add(self, own: Sequence[Any], mean: Sequence[Any]) -> None:
        """Add this replica's gradients, and their mean over all replicas."""
        self._small.append(_square_norm(own))
        self._big.append(_square_norm(mean))

    def take(self) -> dict[str, tf.Tensor]:
        """Return the step's norms, to be logged with its loss; empty if the step averaged no gradients."""
        import tensorflow as tf

        small, big, self._small, self._big = self._small, self._big, [], []
        return {SMALL_BATCH_NORM: tf.add_n(small), LARGE_BATCH_NORM: tf.add_n(big)} if small else {}


def _square_norm(gradients: Sequence[Any]) -> tf.Tensor:
    import tensorflow as tf

    # A sparse gradient may contain a row twice, so its norm is that of the dense gradient.
    dense = [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients if g is not None]
    return tf.add_n([tf.reduce_sum(tf.square(g)) for g in dense])
