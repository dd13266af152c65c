"""Square norms of gradients before and after they are averaged over replicas: what the noise scale is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.messages import LARGE_BATCH_NORM, SMALL_BATCH_NORM

if TYPE_CHECKING:
    import tensorflow as tf


class SquareNorms:
    """Of the step that is being traced; with several optimizers, of all their gradients together."""

    def __init__(self) -> None:
        self._small: list[tf.Tensor] = []
        self._big: list[tf.Tensor] = []

    def note(self, own: Sequence[Any], mean: Sequence[Any]) -> None:
        """This replica's gradients, and the mean over all replicas."""
        self._small.append(_square_norm(own))
        self._big.append(_square_norm(mean))

    def take(self) -> dict[str, tf.Tensor]:
        """The step's norms, to be logged beside its loss; nothing if no gradients were averaged in it."""
        import tensorflow as tf

        small, big, self._small, self._big = self._small, self._big, [], []
        return {SMALL_BATCH_NORM: tf.add_n(small), LARGE_BATCH_NORM: tf.add_n(big)} if small else {}


def _square_norm(gradients: Sequence[Any]) -> tf.Tensor:
    import tensorflow as tf

    # A sparse gradient may name a row twice: only as a dense one it has a norm.
    dense = [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients if g is not None]
    return tf.add_n([tf.reduce_sum(tf.square(g)) for g in dense])
