"""Times a step inside the compiled call: seconds waited for input, and seconds in collectives.

A timestamp (`tf.timestamp`) is meaningful only if the computation depends on it: it must run after one operation and
before the next. Timestamps beside the computation were tried: they run whenever a thread is free, often after the step
that they should time (docs/watch.md, "Where the time goes", has the figures). With a GPU, the host queues steps far
ahead of the device, so that its clock says nothing about them: steps are not timed there, and the values are null.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


UNMEASURED = -1e30
"""Stands for a time that is not measured, alone and in sums. `tf.debugging.enable_check_numerics` would find a NaN."""


class StepTimer:
    """Times the steps of one compiled call. If disabled, it adds nothing to the graph and all times are UNMEASURED.

    It is also disabled where the job wants deterministic operations, which TensorFlow's timestamp is not.
    """

    def __init__(self, enabled: bool) -> None:
        self._wanted = enabled
        self._collectives: list[tf.Tensor] = []

    @functools.cached_property
    def enabled(self) -> bool:
        """Whether steps are timed. Asked when a call is traced: by then the job's own code has run."""
        return self._wanted and not _only_deterministic()

    def next(self, iterator: Any) -> tuple[Any, tf.Tensor]:
        """The next batch, and the seconds until it was available.

        TensorFlow starts an iteration of the fused loop when the previous one has ended. So the timestamps delay
        nothing, and they measure time in which there was nothing to compute.
        """
        import tensorflow as tf

        self._collectives.clear()
        if not self.enabled:
            return next(iterator), unmeasured()
        timed: tuple[Any, tf.Tensor] = tf.autograph.experimental.do_not_convert(self._next)(iterator)
        return timed

    def now(self) -> tf.Tensor:
        """A timestamp, or UNMEASURED."""
        return now() if self.enabled else unmeasured()

    def since(self, begun: tf.Tensor, after: Sequence[tf.Tensor]) -> tf.Tensor:
        """Seconds from `begun` until `after` has been computed, or UNMEASURED."""
        return now(after) - begun if self.enabled else unmeasured()

    def _next(self, iterator: Any) -> tuple[Any, tf.Tensor]:
        import tensorflow as tf

        requested = now()
        with tf.control_dependencies([requested]):
            batch = next(iterator)
        received = now(tf.nest.flatten(batch, expand_composites=True))
        return after_timestamp(received, batch), received - requested

    def collective(self, value: tf.Tensor, reduce: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Return `reduce(value)`, and add its time to `communication`."""
        if not self.enabled:
            return reduce(value)
        entered = now([value])
        total = reduce(after_timestamp(entered, value))
        left = now([total])
        self._collectives.append(left - entered)
        result: tf.Tensor = after_timestamp(left, total)
        return result

    def communication(self) -> tf.Tensor:
        """Seconds in collectives since the batch was available, including waits for slower replicas.

        UNMEASURED if a collective was traced into a graph of its own (a conditional): its tensors cannot be used here.
        """
        import tensorflow as tf

        collectives, self._collectives = self._collectives, []
        graph = tf.compat.v1.get_default_graph()
        if not self.enabled or any(seconds.graph is not graph for seconds in collectives):
            return unmeasured()
        return tf.add_n([tf.zeros([], tf.float64), *collectives])


def _only_deterministic() -> bool:
    """Whether TensorFlow refuses operations that are not deterministic.

    `enable_op_determinism()` asks for that, and so does TF_DETERMINISTIC_OPS, of which Python's side knows nothing.
    """
    import tensorflow as tf

    try:
        with tf.init_scope():
            now()
    except tf.errors.FailedPreconditionError:
        return True
    return False


def now(after: Sequence[tf.Tensor] = ()) -> tf.Tensor:
    """Seconds since the epoch on this host's clock, once `after` has been computed."""
    import tensorflow as tf

    with tf.device("/device:CPU:0"), tf.control_dependencies(list(after)):
        return tf.timestamp()


def after_timestamp(timestamp: tf.Tensor, values: Any) -> Any:
    """The same `values`, available only after `timestamp` was taken."""
    import tensorflow as tf

    with tf.control_dependencies([timestamp]):
        return tf.nest.map_structure(tf.identity, values, expand_composites=True)


def unmeasured() -> tf.Tensor:
    """What is not measured, as a tensor."""
    import tensorflow as tf

    return tf.constant(UNMEASURED, tf.float64)


def measured(seconds: float) -> float | None:
    """A measured time as Python has it; None for sums with UNMEASURED, and if the host's clock was set back meanwhile.

    TensorFlow has no monotonic clock in graphs. Sums of tiny differences may be below 0 by rounding.
    """
    return max(0.0, float(seconds)) if seconds > -0.001 else None
