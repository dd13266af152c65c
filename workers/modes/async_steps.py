"""The graph of k asynchronous steps: it runs on a worker, but for what reads and updates variables.

Two facts shape this file. `keras.Variable.assign_add` is not atomic, so under concurrent workers
`optimizer.iterations` loses counts: here a plain counter on the parameter servers is the truth, and Keras'
`iterations` follows it inside every step. And operations on different variables are not ordered by themselves:
the counter is read before the weights are, and drawn after the gradients are applied, so that the difference is the
staleness of that update. The weights of a step are read in the same visit to the parameter servers that applies the
step before, so that a step costs one round trip (docs/adr/0002-async-counter.md).

TensorFlow cuts it into a part for each device, and has the parts send each other every value that crosses, and every
"go on" where only the order crosses. Those messages are what a small step costs. Traced with care there are five per
step: the gradients one way, weights and numbers the other; and three that keep the parts' loops in step. Where tracing
a step is cheap, several are traced into one turn of the loop, to share the three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.model.optimizers import iterations, optimizers
from workers.model.scope import step_scope
from workers.model.step import TrainStep
from workers.modes.ps_exchange import Messages, PsExchange
from workers.modes.step_timer import StepTimer

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    State = tuple[tf.Tensor, tf.TensorArray, tf.TensorArray, tf.TensorArray, Messages]

BLOCK = 4
"""Steps in one turn of the loop, of a small step: 1.2 times the updates/s, for 1.7 s more before the first one."""
_SMALL_STEP = 600
"""Operations: that of a 64-256-10 MLP with Adam has some 250."""
_NO_LIMIT = 2**62
_CHIEF = "/job:chief/replica:0/task:0/device:CPU:0"


class AsyncSteps:
    """k fused steps; called in the dispatch thread of a worker, whose device is in scope."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        train_step: TrainStep,
        counter: tf.Variable,
        element_spec: Any,
        timer: StepTimer,
    ) -> None:
        """`counter` counts the updates of all workers."""
        self._strategy = strategy
        self._train_step = train_step
        self._counter = counter
        self._timer = timer
        self._exchange = PsExchange(model, counter)
        self._iterations = [iterations(optimizer) for optimizer in optimizers(model)]
        self._operations = 0
        """Of one step, once it is traced."""
        self._run = self._trace(element_spec)

    def __call__(self, iterator: Any, steps: int) -> list[np.ndarray[Any, Any]]:
        """Run `steps` steps. What they logged, behind the seconds that all took and those they waited for input; the
        number of each update; and how many updates each had seen."""
        import tensorflow as tf

        blocks = steps // BLOCK if self._is_small else 0
        with tf.device(_CHIEF):
            wanted = tf.constant([steps - BLOCK * blocks, blocks])
        outputs = self._run(iterator, wanted)
        with tf.device(_CHIEF):
            return [tf.identity(output).numpy() for output in outputs]

    @property
    def _is_small(self) -> bool:
        return self._operations <= _SMALL_STEP

    def _trace(self, element_spec: Any) -> tf.types.experimental.ConcreteFunction:
        import tensorflow as tf

        @tf.function
        def run(iterator: Any, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            single, blocks = tf.unstack(wanted)
            steps = single + BLOCK * blocks
            begun = self._timer.now()
            state = (
                tf.zeros([], tf.float64),
                tf.TensorArray(tf.float32, size=steps),
                tf.TensorArray(tf.int64, size=steps, element_shape=[]),
                tf.TensorArray(tf.int64, size=steps, element_shape=[]),
                self._exchange.fetch(),
            )
            for n in tf.range(single):
                state = self._step(iterator, n, state)
            if self._is_small:  # known by now: one step is traced
                for block in tf.range(blocks):
                    for n in range(BLOCK):
                        state = self._step(iterator, single + BLOCK * block + n, state)
            waited, rows, numbers, reads, _ = state
            # A TensorArray without elements has no element shape to stack.
            logs = tf.cond(steps > 0, lambda: tf.reshape(rows.stack(), [-1]), lambda: tf.zeros([0]))
            taken = numbers.stack()
            spent = tf.cast(tf.stack([self._timer.now([taken]) - begun, waited]), tf.float32)
            # Each output is a fetch of its own: the seconds lead the logs.
            return tf.concat([spent, logs], axis=0), taken, reads.stack()

        return run.get_concrete_function(tf.data.IteratorSpec(element_spec), tf.TensorSpec([2], tf.int32))

    def _step(self, iterator: Any, n: tf.Tensor, state: State) -> State:
        """The `n`th step of the closure, from 0."""
        import tensorflow as tf

        waited, rows, numbers, reads, messages = state
        batch, wait = self._timer.next(iterator)
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        applied = self._exchange.applied()
        local = [(iteration, _cast_there(applied, iteration.dtype)) for iteration in self._iterations]
        # Optimizers update variables in a `merge_call`, which TensorFlow runs in this thread, out of
        # reach of the replica thread's scope: without one here Adam took each step for its first.
        with self._exchange.reading(messages), step_scope(local):
            row = self._strategy.run(self._train_step, args=(batch, local))
        made = graph.get_operations()[before:]
        self._operations = len(made)
        updates = [operation for operation in made if _touches_variable(operation)]
        with tf.control_dependencies(updates or [row]):
            # Atomic fetch-and-add. `assign_add` then a read would count others' updates in between.
            counted = tf.raw_ops.ResourceCountUpTo(resource=self._counter.handle, limit=_NO_LIMIT, T=tf.int64)
        following = self._exchange.fetch(counted)
        return (
            waited + wait,
            rows.write(n, row),
            numbers.write(n, self._exchange.numbers(following)[0] + 1),
            reads.write(n, self._exchange.numbers(messages)[1]),
            following,
        )


def _cast_there(value: tf.Tensor, dtype: Any) -> tf.Tensor:
    """Cast on the parameter server that has it, and where most optimizers need it."""
    import tensorflow as tf

    with tf.device(value.device):
        return tf.cast(value, dtype)


def _touches_variable(operation: tf.Operation) -> bool:
    import tensorflow as tf

    return any(tensor.dtype == tf.resource for tensor in operation.inputs)
