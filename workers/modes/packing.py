"""Values of all replicas brought together in few collectives.

Keras issues one all-reduce per variable, and for small models their number is the cost of a step: packed into
one, a 64-256-10 MLP on two workers went from 527 to 822 steps/s (FACTS.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from workers.modes.stamps import StepTimer

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def average_gradients(optimizer: keras.Optimizer, replicas: int, timer: StepTimer) -> None:
    """Make `optimizer` work on the mean of all replicas' gradients, brought together in one collective per dtype.

    Keras sums gradients over replicas, after clipping them and after looking for overflow (mixed precision), and
    has every loss divided by the number of replicas beforehand. Here they are averaged first, so that clipping,
    accumulation and loss scaling see what one process would see on the joined batch, and replicas never disagree
    on whether a step overflowed (each would then wait for a collective that the other never enters).
    """
    apply = optimizer.apply

    def apply_mean(grads: Iterable[Any], trainable_variables: Any = None) -> None:
        apply(mean_over_replicas(list(grads), replicas, timer), trainable_variables)

    optimizer.apply = apply_mean
    innermost = getattr(optimizer, "inner_optimizer", optimizer)
    innermost._all_reduce_sum_gradients = list  # they are the same on every replica by now


def mean_over_replicas(gradients: list[Any], replicas: int, timer: StepTimer) -> list[Any]:
    """The mean of each gradient. None stays None; sparse ones (`IndexedSlices`) are reduced one by one.

    Divided first and summed then: the sum of scaled gradients could overflow where their mean does not.
    """
    import tensorflow as tf

    shares = [None if gradient is None else _divided(gradient, replicas) for gradient in gradients]
    dense = [p for p, share in enumerate(shares) if share is not None and _is_dense(share)]
    means = list(shares)
    for position, mean in zip(dense, sum_over_replicas([shares[p] for p in dense], timer), strict=True):
        means[position] = mean
    for position, share in enumerate(shares):
        if share is not None and position not in dense:
            means[position] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, share)
    return means


def sum_over_replicas(values: list[tf.Tensor], timer: StepTimer | None = None) -> list[tf.Tensor]:
    """Each tensor summed over all replicas, in one collective per dtype. Call in replica context.

    Collectives know no unsigned integers, which the states of random generators are: those travel as int64.
    """
    import tensorflow as tf

    timer = timer or StepTimer(enabled=False)
    replica = tf.distribute.get_replica_context()
    wire = [v if v.dtype.is_floating else tf.cast(v, tf.int64) for v in values]
    totals: list[Any] = list(wire)
    for dtype in dict.fromkeys(w.dtype for w in wire):
        positions = [p for p, w in enumerate(wire) if w.dtype == dtype]
        packed = tf.concat([tf.reshape(wire[p], [-1]) for p in positions], axis=0)
        total = timer.collective(packed, lambda value: replica.all_reduce(tf.distribute.ReduceOp.SUM, value))
        sizes = [wire[p].shape.num_elements() for p in positions]
        for position, part in zip(positions, tf.split(total, sizes), strict=True):
            totals[position] = tf.cast(tf.reshape(part, wire[position].shape), values[position].dtype)
    return totals


def _is_dense(gradient: Any) -> bool:
    import tensorflow as tf

    return not isinstance(gradient, tf.IndexedSlices) and gradient.shape.is_fully_defined()


def _divided(gradient: Any, replicas: int) -> Any:
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values / replicas, gradient.indices, gradient.dense_shape)
    return gradient / replicas
