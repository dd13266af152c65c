"""The steps of an asynchronous worker whose group shares its state in memory.

A step computes its gradients from this process' own variables. Then it visits the store: it takes the lock, copies the
present state into its variables, applies the model's own optimizer, copies the result out, counts, and gives the lock
back (`workers.modes.store_visits`). So it goes on with the weights after its own update, and one worker alone trains as
`fit` does, bit by bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from workers.model import state
from workers.model.optimizers import innermost, optimizers
from workers.model.step import TrainStep
from workers.modes.async_group import Outcome, rows, weighed
from workers.modes.step_timer import StepTimer, measured
from workers.modes.store import Layout, Store
from workers.modes.store_visits import Kind, Visits

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_WRITES = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceScatterAdd", "ResourceScatterSub")


class NotStored(Exception):  # noqa: N818 - a way out, no error
    """A model's steps cannot be taken in visits; the message says why."""


def layout_of(model: keras.Model) -> Layout:
    """The layout of the state of `model`."""
    return Layout(tuple((v.dtype, tuple(v.shape)) for v in _variables(model)))


class StoreSteps:
    """Runs k fused steps on this process' model, whose optimizers visit the store from now on."""

    def __init__(
        self,
        model: keras.Model,
        train_step: TrainStep,
        store: Store,
        timer: StepTimer,
        weigh: Callable[[tf.Tensor], tf.Tensor] | None,
    ) -> None:
        """`weigh` returns the factor on a gradient of a given staleness; None for 1."""
        self._train_step = train_step
        self._timer = timer
        self._weigh = weigh
        self._variables = [variable._value for variable in _variables(model)]
        kinds = _kinds(model)
        self._managed = {id(value) for value, kind in zip(self._variables, kinds, strict=True) if kind == "managed"}
        self._visits = Visits(store, kinds)
        self._is_traced = False
        """Whether the beginning of the step's visit has been traced."""
        self._factor: tf.Tensor | None = None
        for optimizer in optimizers(model):
            self._attach(optimizer)
        self.compile()

    def __call__(self, iterator: Any, steps: int) -> Outcome:
        """Take `steps` steps."""
        import tensorflow as tf

        started = time.monotonic()
        if (present := self._visits.catch_up()) is not None:
            self._load(*present)
        try:
            logs, waited = self._run(iterator, tf.constant(steps))
            flat, seconds = logs.numpy(), waited.numpy()
        finally:
            self._visits.leave()
        numbers, reads = self._visits.counted()
        return Outcome(rows(flat, steps), numbers, reads, time.monotonic() - started, measured(seconds))

    def trace(self, iterator: Any) -> None:
        """Trace a step without taking one.

        Raises:
            NotStored: the step does not update its weights in one place, by an optimizer's `apply`.
        """
        import tensorflow as tf

        self._run(iterator, tf.constant(0))
        if not self._is_traced:
            raise NotStored("a step applies no optimizer, or only within a conditional")

    def _attach(self, optimizer: keras.Optimizer) -> None:
        """Have `optimizer` apply its gradients within a visit. One that another applies is in that one's visit."""
        apply = optimizer.apply

        def visit(grads: Iterable[Any], trainable_variables: Any = None) -> None:
            gradients = list(grads)
            self._begin_visit(gradients)
            apply(gradients, trainable_variables)

        optimizer.apply = visit
        if self._weigh is not None:
            innermost(optimizer)._all_reduce_sum_gradients = self._weighed

    def _begin_visit(self, gradients: list[Any]) -> None:
        """Trace the beginning of a visit, once `gradients` are there; nothing if the step's visit has begun already."""
        import tensorflow as tf

        graph = tf.compat.v1.get_default_graph()
        if graph is not self._graph or self._is_traced:
            return
        handles = {id(variable.handle) for variable in self._variables if id(variable) in self._managed}
        for operation in graph.get_operations()[self._before :]:
            if operation.type in _WRITES and id(_source(operation.inputs[0])) in handles:
                raise NotStored("a step writes to its weights before it applies an optimizer")
        self._is_traced = True
        waited_for = tf.nest.flatten([g for g in gradients if g is not None], expand_composites=True)
        with tf.control_dependencies(waited_for):
            taken = [self._variables[position] for position in self._visits.taken]
            types = [tf.float32, *(variable.dtype for variable in taken)]
            stale, *found = tf.numpy_function(self._visits.begin, self._read(self._visits.added), types)
        _assign(taken, found)
        if self._weigh is not None:
            self._factor = self._weigh(tf.reshape(stale, []))

    def _weighed(self, pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        return weighed(pairs, self._factor)

    def _read(self, positions: Iterable[int]) -> list[tf.Tensor]:
        return [self._variables[position].read_value() for position in positions]

    def compile(self) -> None:
        """Compile calls anew, when what a step depends on has changed."""
        import tensorflow as tf

        @tf.function
        def run(iterator: Any, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            table = tf.TensorArray(tf.float32, size=steps)
            waited = tf.zeros([], tf.float64)
            for n in tf.range(steps):
                batch, wait = self._timer.next(iterator)
                row = tf.autograph.experimental.do_not_convert(self._step)(batch)
                waited += wait
                table = table.write(n, row)
            # A TensorArray without elements has no element shape to stack.
            return tf.cond(steps > 0, lambda: tf.reshape(table.stack(), [-1]), lambda: tf.zeros([0])), waited

        self._run = run
        self._load = tf.function(lambda *arrays: _assign(self._variables, arrays), autograph=False)

    def _step(self, batch: Any) -> tf.Tensor:
        """Trace one step."""
        import tensorflow as tf

        self._graph = tf.compat.v1.get_default_graph()
        self._before = len(self._graph.get_operations())
        self._is_traced = False
        row = self._train_step.on_replicas(tf.distribute.get_strategy(), batch)
        with tf.control_dependencies([row]):
            tf.numpy_function(self._visits.finish, self._read(range(len(self._variables))), tf.int32)
        return row


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    import tensorflow as tf

    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.ensure_shape(value, variable.shape))


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*state.state_variables(model), *state.optimizer_variables(model)]


def _kinds(model: keras.Model) -> list[Kind]:
    """What a visit does with each variable. A step adds to moving averages, and to counters of random generators."""
    import keras

    managed = {id(v) for v in (*model.trainable_variables, *state.optimizer_variables(model))}
    added = {id(v) for v in model.non_trainable_variables if v.name == "seed_generator_state"}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            added |= {id(v) for v in layer.non_trainable_variables}
    return [
        "managed" if id(v) in managed else "added" if id(v) in added else "own"  # frozen weights too
        for v in _variables(model)
    ]


def _source(tensor: Any) -> Any:
    """What a tensor of a nested graph was captured from, outside of all graphs."""
    while (graph := getattr(tensor, "graph", None)) is not None:
        outer = next((outside for outside, inside in graph.captures if inside is tensor), None)
        if outer is None:
            return tensor
        tensor = outer
    return tensor
