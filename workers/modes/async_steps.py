"""The graph of k asynchronous steps. It runs on a worker, except for reads and updates of variables.

Two facts determine its form. `keras.Variable.assign_add` is not atomic, so under concurrent workers
`optimizer.iterations` loses counts: here a plain counter on the parameter servers counts updates, and Keras'
`iterations` follows it inside every step. And operations on different variables are not ordered by themselves: control
dependencies make a step read the counter before the weights, and increment it after the gradients are applied, so that
the difference is the staleness of that update. The weights of a step are read in the same visit to the parameter
servers that applies the step before, so that a step costs one round trip (docs/adr/0002-async-counter.md).

TensorFlow cuts the graph into a part for each device. The parts send each other every value that crosses devices, and a
message without a value where only an order does. These messages are the cost of a small step. This graph needs five per
step: the gradients one way, weights and numbers the other way, and three that keep the parts' loops together. If a step
is small, several are traced into one iteration of the loop and share the three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from workers.model.optimizers import iterations, optimizers
from workers.model.scope import step_scope
from workers.model.step import TrainStep
from workers.modes.gathering import Gathering
from workers.modes.ps_exchange import Messages, PsExchange
from workers.modes.step_timer import StepTimer

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    State = tuple[tf.Tensor, tf.TensorArray, tf.TensorArray, tf.TensorArray, Messages]

BLOCK = 4
"""Small steps in one iteration of the loop: 1.2 times the updates/s, for 1.7 s more before the first one."""
_SMALL_STEP = 600
"""Largest number of operations of a small step; a step of a 64-256-10 MLP with Adam has about 250."""
_CHIEF = "/job:chief/replica:0/task:0/device:CPU:0"


class AsyncSteps:
    """Runs k fused steps; called in the dispatch thread of a worker, whose device is in scope."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        train_step: TrainStep,
        counter: tf.Variable,
        element_spec: Any,
        timer: StepTimer,
        offsets: Sequence[int],
        weigh: Callable[[tf.Tensor], tf.Tensor] | None = None,
        gathering: Gathering | None = None,
    ) -> None:
        """`counter` counts the updates of all workers; an optimizer's `iterations` are that, times how often a step
        applies it, plus its offset. `weigh` returns the factor on a gradient of a given staleness; None for 1. With a
        `gathering`, `counter` counts gradients, and `iterations` follow the updates made of them."""
        self._strategy = strategy
        self._train_step = train_step
        self._counter = counter
        self._timer = timer
        self._exchange = PsExchange(model, counter, weigh, gathering)
        self._iterations = [iterations(optimizer) for optimizer in optimizers(model)]
        self._offsets = offsets
        self.per_step = [1] * len(offsets)
        """How often one step applies each optimizer. If 0, its `iterations` are left alone: another optimizer calls
        its parts, or decides within the step whether to apply it (loss scaling)."""
        self._one_by_one = gathering is not None and gathering.fresh
        """Whether calls have one step, so that blocks would be traced in vain."""
        self._operations = 0
        """Number of operations of one step, once it is traced."""
        self._run = self._trace(element_spec)
        if (per_step := [self._updates[id(variable)] for variable in self._iterations]) != self.per_step:
            self.per_step = per_step
            for variable, times in zip(self._iterations, per_step, strict=True):
                if not times:
                    _count_in_place(variable)
            self._run = self._trace(element_spec)

    def __call__(self, iterator: Any, steps: int) -> list[np.ndarray[Any, Any]]:
        """Run `steps` steps.

        Returns three arrays: the seconds that all steps took, those spent waiting for input, and then the steps' logs;
        the number of each update; the number of updates applied when each step read the weights, and at the end.
        """
        import tensorflow as tf

        blocks = steps // BLOCK if self._is_small else 0
        with tf.device(_CHIEF):
            wanted = tf.constant([steps - BLOCK * blocks, blocks])
        outputs = self._run(iterator, wanted)
        with tf.device(_CHIEF):
            return [tf.identity(output).numpy() for output in outputs]

    @property
    def _is_small(self) -> bool:
        return self._operations <= _SMALL_STEP and not self._one_by_one

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
            if self._is_small:  # known by now, because a step has been traced
                for block in tf.range(blocks):
                    for n in range(BLOCK):
                        state = self._step(iterator, single + BLOCK * block + n, state)
            waited, rows, numbers, reads, last = state
            # A TensorArray without elements has no element shape to stack.
            logs = tf.cond(steps > 0, lambda: tf.reshape(rows.stack(), [-1]), lambda: tf.zeros([0]))
            taken = numbers.stack()
            spent = tf.cast(tf.stack([self._timer.since(begun, [taken]), waited]), tf.float32)
            # Each output costs a fetch, so the seconds are put in front of the logs.
            read = tf.concat([reads.stack(), [self._exchange.numbers(last)[1]]], axis=0)
            return tf.concat([spent, logs], axis=0), taken, read

        return run.get_concrete_function(tf.data.IteratorSpec(element_spec), tf.TensorSpec([2], tf.int32))

    def _step(self, iterator: Any, n: tf.Tensor, state: State) -> State:
        """Trace step `n` of the call, counted from 0."""
        import tensorflow as tf

        waited, rows, numbers, reads, messages = state
        batch, wait = self._timer.next(iterator)
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        applied = self._exchange.updates()
        local = [
            (own, _cast_in_place(applied, own.dtype, times, offset))
            for own, times, offset in zip(self._iterations, self.per_step, self._offsets, strict=True)
            if times
        ]
        # Optimizers update variables in a `merge_call`, which TensorFlow runs in this thread, where the scope of
        # the replica's thread does not apply. Without a scope here, Adam took each step for its first.
        with self._exchange.reading(messages), step_scope(local) as scope:
            self._train_step.within = scope
            row = self._train_step.on_replicas(self._strategy, batch, local)
        self._train_step.within = None
        self._updates = scope.updates + Counter(self._train_step.updates)
        operations = graph.get_operations()[before:]
        self._operations = len(operations)
        updates = [operation for operation in operations if _touches_variable(operation)]
        with tf.control_dependencies(updates or [row]):
            counted = self._exchange.count()
        following = self._exchange.fetch(counted)
        return (
            waited + wait,
            rows.write(n, row),
            numbers.write(n, self._exchange.numbers(following)[0] + 1),
            reads.write(n, self._exchange.numbers(messages)[1]),
            following,
        )


def _count_in_place(variable: keras.Variable) -> None:
    """Have `variable` count on its parameter server, so that two workers that count at once count two.

    Keras adds by reading and assigning: of 200 steps of two workers, 190 were counted.
    """
    import tensorflow as tf

    variable.assign_add = lambda value: variable.value.assign_add(tf.cast(value, variable.dtype))


def _cast_in_place(value: tf.Tensor, dtype: Any, times: int, offset: int) -> tf.Tensor:
    """Cast `value * times + offset` on the parameter server that holds it, where most optimizers need it."""
    import tensorflow as tf

    with tf.device(value.device):
        value = value if times == 1 else value * times
        return tf.cast(value + offset if offset else value, dtype)


def _touches_variable(operation: tf.Operation) -> bool:
    import tensorflow as tf

    return any(tensor.dtype == tf.resource for tensor in operation.inputs)
