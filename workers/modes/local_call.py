"""The compiled call of a worker that trains alone for H steps: rounds of steps, each ended by a mean over workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workers.modes.sync_call import SyncCall, stacked

if TYPE_CHECKING:
    import tensorflow as tf


class LocalCall(SyncCall):
    """Runs steps on this worker alone; at the end of a round all workers meet."""

    def __init__(
        self,
        *arguments: Any,
        rounds: Callable[[int], tuple[int, int, int]],
        meet: Callable[[], None],
        **options: Any,
    ) -> None:
        """`rounds` tells of a call of n steps how many steps are left of the round under way, how many the next rounds
        have, and whether (1 or 0) a round ends with the call in any case. `meet` traces the end of a round."""
        self._rounds = rounds
        self._meet = meet
        super().__init__(*arguments, **options)

    def _work(self, steps: int) -> Any:
        return [steps, *self._rounds(steps)]

    def _train(self, iterator: Any, work: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        import tensorflow as tf

        alone = tf.distribute.get_strategy()
        steps, left, every, closes = tf.unstack(work)
        rows = tf.TensorArray(tf.float32, size=steps)
        waited = communication = tf.zeros([], tf.float64)
        done = 0
        while done < steps:
            until = tf.minimum(steps, done + left)
            for n in tf.range(done, until):
                batch, wait = self._timer.next(iterator)
                row = self._train_step.on_replicas(alone, batch)
                waited += wait
                rows = rows.write(n, row / self._divisor)
            left -= until - done
            done = until
            if left == 0 or (closes > 0 and done == steps):
                self._meet()
                communication += self._timer.communication()
                left = every
        return stacked(rows, steps), waited, communication
