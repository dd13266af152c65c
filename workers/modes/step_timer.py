"""Where a step's time goes, measured inside of the compiled call: waiting for input, and meeting other replicas.

A time stamp (`tf.timestamp`) says something only where it stands in the way: between what it comes after and what
comes next. Stamps beside the computation were tried: they run whenever a thread is free, often after the step they
were to time (docs/watch.md, "Where the time goes", has the figures). On a GPU the host queues steps far ahead of
the device and its clock tells nothing about them, so there is no timing there, and the values are null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


class StepTimer:
    """Times the steps of one compiled call. Off, it adds nothing to the graph and everything is NaN."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._collectives: list[tf.Tensor] = []

    def next(self, iterator: Any) -> tuple[Any, tf.Tensor]:
        """The next batch, and the seconds until it was there.

        TensorFlow starts an iteration of the fused loop when the one before is done, so nothing is held up by the
        stamps, and what is measured is time in which there was nothing to compute.
        """
        import tensorflow as tf

        self._collectives.clear()
        if not self.enabled:
            return next(iterator), unknown()
        timed: tuple[Any, tf.Tensor] = tf.autograph.experimental.do_not_convert(self._next)(iterator)
        return timed

    def now(self, after: Sequence[tf.Tensor] = ()) -> tf.Tensor:
        """A stamp, or NaN when timing is off."""
        return now(after) if self.enabled else unknown()

    def _next(self, iterator: Any) -> tuple[Any, tf.Tensor]:
        import tensorflow as tf

        asked = now()
        with tf.control_dependencies([asked]):
            batch = next(iterator)
        there = now(tf.nest.flatten(batch, expand_composites=True))
        return passed_after(there, batch), there - asked

    def collective(self, value: tf.Tensor, reduce: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """`reduce(value)`, and how long it took is added to what `communication` tells."""
        if not self.enabled:
            return reduce(value)
        entered = now([value])
        total = reduce(passed_after(entered, value))
        left = now([total])
        self._collectives.append(left - entered)
        result: tf.Tensor = passed_after(left, total)
        return result

    def communication(self) -> tf.Tensor:
        """Seconds in collectives since the batch came, waiting for slower replicas included.

        NaN where a collective was traced into a graph of its own (a conditional), out of reach from here.
        """
        import tensorflow as tf

        taken, self._collectives = self._collectives, []
        here = tf.compat.v1.get_default_graph()
        if not self.enabled or any(seconds.graph is not here for seconds in taken):
            return unknown()
        return tf.add_n([tf.zeros([], tf.float64), *taken])


def now(after: Sequence[tf.Tensor] = ()) -> tf.Tensor:
    """Seconds since the epoch, on this host's clock, once `after` is there."""
    import tensorflow as tf

    with tf.device("/device:CPU:0"), tf.control_dependencies(list(after)):
        return tf.timestamp()


def passed_after(stamp: tf.Tensor, values: Any) -> Any:
    """The same values, not before `stamp` was taken."""
    import tensorflow as tf

    with tf.control_dependencies([stamp]):
        return tf.nest.map_structure(tf.identity, values, expand_composites=True)


def unknown() -> tf.Tensor:
    """What is not measured, inside of a graph."""
    import tensorflow as tf

    return tf.constant(math.nan, tf.float64)


def known(seconds: float) -> float | None:
    """A measured value as the rest of Regatta has it: None where there is none, and never below 0."""
    return None if math.isnan(seconds) else max(0.0, float(seconds))
