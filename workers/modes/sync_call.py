"""The compiled call of a synchronous worker: k fused steps, then one collective.

The collective carries the steps' losses and the leader's decision for the next call. Reducing losses once per call
instead of once per step saves a collective per step, and every replica applies the decision at the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.model.step import TrainStep
from workers.modes.joined_batch import as_if_alone
from workers.modes.mode import Consult, Decision
from workers.modes.step_timer import StepTimer, measured

if TYPE_CHECKING:
    import tensorflow as tf

_DECISION_FIELDS = 7


class SyncCall:
    """Runs steps on this worker, together with all other workers."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        train_step: TrainStep,
        timer: StepTimer,
        *,
        workers: int,
        leads: bool,
        divisor: float,
        seconds_elsewhere: Callable[[], float],
    ) -> None:
        """`divisor`: what this worker's logs are divided by before they are summed over workers. `seconds_elsewhere`
        returns the time spent so far in collectives that `timer` does not measure."""
        self._timer = timer
        self._divisor = divisor
        self._strategy = strategy
        self._train_step = train_step
        self._leads = leads
        self._seconds_elsewhere = seconds_elsewhere
        self._run = self._compiled(workers)

    def __call__(
        self, iterator: Any, steps: int, proposal: Decision
    ) -> tuple[np.ndarray[Any, Any], Decision, tuple[float | None, float | None]]:
        """Run `steps` steps.

        Returns the logs of each step, the decision for the next call, and the seconds waited for input and spent in
        collectives.
        """
        import tensorflow as tf

        wish = encoded(proposal if self._leads else None)
        before = self._seconds_elsewhere()
        decision, logs, spent = self._run(iterator, tf.constant(self._work(steps)), tf.constant(wish))
        waited, communication = spent.numpy()
        communication += self._seconds_elsewhere() - before
        width = max(1, len(self._train_step.names))
        rows = logs.numpy().reshape(-1, width).astype(np.float64)
        return rows, decoded(decision.numpy()), (measured(waited), measured(communication))

    def _work(self, steps: int) -> Any:
        """What `_train` needs to know of a call of `steps` steps, as one integer or several."""
        return steps

    def _train(self, iterator: Any, work: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Trace the steps; returns the logs of all, and the seconds waited for input and spent in collectives."""
        import tensorflow as tf

        strategy = self._strategy
        rows = tf.TensorArray(tf.float32, size=work)
        waited = communication = tf.zeros([], tf.float64)
        for n in tf.range(work):
            batch, wait = self._timer.next(iterator)
            with as_if_alone(strategy):
                row = self._train_step.on_replicas(strategy, batch)
            waited += wait
            communication += self._timer.communication()
            local = strategy.experimental_local_results(row)
            rows = rows.write(n, tf.add_n(local) / self._divisor)
        return stacked(rows, work), waited, communication

    def _compiled(self, workers: int) -> Any:
        import tensorflow as tf

        strategy = self._strategy
        local_replicas = strategy.num_replicas_in_sync // workers

        @tf.function
        def run(iterator: Any, work: tf.Tensor, decision: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            logs, waited, communication = self._train(iterator, work)
            flat = tf.concat([decision, logs], axis=0)
            if workers > 1:
                flat = strategy.run(_all_reduce, args=(flat / local_replicas,))
                flat = strategy.experimental_local_results(flat)[0]
            return flat[:_DECISION_FIELDS], flat[_DECISION_FIELDS:], tf.stack([waited, communication])

        return run


def stacked(rows: tf.TensorArray, steps: tf.Tensor) -> tf.Tensor:
    """The logs of `steps` steps as one vector. A TensorArray without elements has no element shape to stack."""
    import tensorflow as tf

    return tf.cond(steps > 0, lambda: tf.reshape(rows.stack(), [-1]), lambda: tf.zeros([0]))


def _all_reduce(value: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    here = tf.identity(value)  # the collective needs it on this replica's device
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)


def encoded(wish: Decision | None) -> np.ndarray[Any, Any]:
    """The leader's wish as numbers, to be summed over workers; None for those that follow."""
    if wish is None:
        return np.zeros(_DECISION_FIELDS, np.float32)
    rate = wish.learning_rate
    fields = [wish.steps, wish.stop, rate is not None, rate or 0.0, wish.rewritten, wish.begun, wish.consult]
    return np.array(fields, np.float32)


def decoded(values: np.ndarray[Any, Any]) -> Decision:
    """The decision that `encoded` made numbers of."""
    steps, stop, has_rate, rate, rewritten, begun, consult = (float(v) for v in values)
    set_rate = rate if has_rate > 0 else None
    return Decision(max(1, int(steps)), stop > 0, set_rate, rewritten > 0, begun > 0, Consult(int(consult)))
