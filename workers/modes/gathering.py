"""Gradients gathered on parameter servers: the weights are updated with the mean of the first K to arrive.

Every gradient is added to a sum beside its variable, and the K-th applies the optimizer to their mean, so that clipping
and weight decay see the mean as well. All of this happens under a lock on the parameter server that counts, once the
whole gradient has arrived there. Nothing in it waits for a worker, so a worker that stops cannot hold the lock; of one
whose process ends, the runtime drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.errors import UnsupportedOptimizerError
from workers.model.optimizers import innermost, optimizers

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt
    import tensorflow as tf

    Push = Callable[[Sequence[tuple[Any, Any]]], list[tuple[Any, Any]]]

_NO_LIMIT = 2**62


class Gathering:
    """Sums of gradients for one model under ParameterServerStrategy, whose optimizer takes part in it from now on."""

    def __init__(self, model: keras.Model, counter: tf.Variable, mode: str, *, wanted: int, fresh: bool) -> None:
        """`wanted` gradients make an update. `fresh`: those not computed on the present weights are dropped. `counter`
        counts all that arrive.

        Raises:
            UnsupportedOptimizerError: the model has several optimizers, or one inside another.
        """
        import tensorflow as tf

        self.wanted = wanted
        self.fresh = fresh
        self._counter = counter
        self._mode = mode
        self._optimizer, *more = optimizers(model)
        if more or innermost(self._optimizer) is not self._optimizer:
            raise self._refusal("the model has several optimizers, or one that wraps another (mixed precision)")
        self._variables = list(self._optimizer._trainable_variables)
        self._sums = []
        for variable in self._variables:
            with tf.device(variable.value.device):
                self._sums.append(tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False))
        with tf.device(counter.device):
            self._kept = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._lock = tf.raw_ops.MutexV2(shared_name="regatta_gathering")
        self._dropped_before = 0
        """Gradients dropped before this leg."""
        self._updates_before = 0
        self._begun = 0
        """What the counter less the gradients kept was when this leg began."""
        self._apply = self._optimizer.apply
        self.counted: tf.Tensor | None = None
        """The counter before the gradient of the step that is traced, from under the lock."""

    def step_begins(self) -> None:
        """Prepare to trace a step, whose graph has to know the variables of this object from outside of it."""
        import tensorflow as tf

        self.counted = None
        graph = tf.compat.v1.get_default_graph()
        for handle in (self._lock, *(variable.handle for variable in (self._counter, self._kept, *self._sums))):
            graph.capture(handle)

    def kept(self) -> int:
        """Gradients kept since the leg began, with those that were waiting then."""
        import tensorflow as tf

        with tf.device(self._counter.device):  # in a dispatch thread, the device in scope is a worker's
            return int(self._kept.numpy())

    def read(self) -> tf.Tensor:
        """Gradients kept, on the parameter server that counts them."""
        import tensorflow as tf

        with tf.device(self._counter.device):
            return tf.raw_ops.ReadVariableOp(resource=self._kept.handle, dtype=tf.int64)

    @property
    def dropped(self) -> int:
        """Gradients of the run that are in no update, those that wait for others included."""
        kept = self.kept()
        return self._dropped_before + int(self._counter.numpy()) - self._begun - kept + kept % self.wanted

    @property
    def updates(self) -> int:
        """Updates of the run, if all of it was in such a mode."""
        return self._updates_before + self.kept() // self.wanted

    def state(self) -> tuple[npt.NDArray[Any], ...]:
        """What a snapshot needs to go on exactly: counts, and sums if any gradient waits. Nothing may be in flight."""
        waiting = self.kept() % self.wanted
        counts = [waiting, self.dropped - waiting, self.updates, self.wanted, self.fresh]
        return (np.array(counts, np.int64), *(total.numpy() for total in self._sums if waiting))

    def load(self, state: Sequence[npt.NDArray[Any]], step: int) -> None:
        """Go on from what `state` returned at `step`. Gradients that waited in another mode are dropped."""
        import tensorflow as tf

        new = (0, 0, 0, self.wanted, self.fresh)
        waiting, dropped, self._updates_before, wanted, fresh = map(int, state[0]) if state else new
        if (wanted, fresh) != (self.wanted, self.fresh):
            waiting, dropped = 0, dropped + waiting
        self._dropped_before, self._begun = dropped, step - waiting
        self._kept.assign(waiting)
        for position, total in enumerate(self._sums):
            total.assign(state[1 + position] if waiting else tf.zeros_like(total))

    def attach(self, push: Push, read_at: Callable[[], tf.Tensor]) -> None:
        """Have the optimizer gather instead of apply. `push` sends pairs of gradient and variable to the parameter
        servers; `read_at` is what `read` was when the step's weights were read."""
        import tensorflow as tf

        def apply(grads: Iterable[Any], trainable_variables: Any = None) -> None:
            if self.counted is not None:
                raise self._refusal("a step applies the optimizer more than once")
            gradients = list(grads)
            variables = self._variables if trainable_variables is None else list(trainable_variables)
            merge = tf.autograph.experimental.do_not_convert(self._gather)
            replica = tf.distribute.get_replica_context()
            pairs = push([(g, v.value) for g, v in zip(gradients, variables, strict=True)])
            replica.merge_call(lambda strategy: merge(strategy, [g for g, _ in pairs], variables, read_at()))

        self._optimizer.apply = apply

    def _gather(self, strategy: tf.distribute.Strategy, gradients: list[Any], variables: list[Any], read: Any) -> None:
        """Trace the arrival of one gradient, on the parameter servers alone."""
        import tensorflow as tf

        sums = [self._sums[self._optimizer._get_variable_index(v)] for v in variables]
        gradients = [_brought(gradient, total) for gradient, total in zip(gradients, sums, strict=True)]
        with tf.device(self._counter.device):
            read = tf.identity(read)
            arrived = tf.nest.flatten([g for g in gradients if g is not None], expand_composites=True)
            with tf.control_dependencies([read, *arrived]):  # all that the worker sends
                lock = tf.raw_ops.MutexLock(mutex=self._lock)
            with tf.control_dependencies([lock]):
                kept = self.read()
                full = tf.equal((kept + 1) % self.wanted, 0)
                keep = tf.equal(kept // self.wanted, read // self.wanted) if self.fresh else tf.constant(True)

            def add() -> tf.Tensor:
                for gradient, total in _known(gradients, sums):
                    _add(total, gradient)
                return self._count_kept()

            def update() -> tf.Tensor:
                means: list[Any] = [None] * len(gradients)
                for position, (gradient, total) in enumerate(zip(gradients, sums, strict=True)):
                    if gradient is not None:
                        with tf.device(total.device):
                            means[position] = (total.read_value() + tf.convert_to_tensor(gradient)) / self.wanted
                            with tf.control_dependencies([means[position]]):
                                total.assign(tf.zeros_like(total))
                with _merged(strategy):
                    self._apply(means, variables)
                return self._count_kept()

            with tf.control_dependencies([lock]):
                done = tf.cond(keep, lambda: tf.cond(full, update, add), lambda: tf.constant(0, tf.int64))
            with tf.control_dependencies([done]):
                # An atomic fetch-and-add, last of all: who reads it before the weights never takes them for newer.
                self.counted = tf.raw_ops.ResourceCountUpTo(resource=self._counter.handle, limit=_NO_LIMIT, T=tf.int64)
            with tf.control_dependencies([self.counted]):
                tf.raw_ops.ConsumeMutexLock(mutex_lock=lock)

    def _count_kept(self) -> tf.Tensor:
        """Count one more, after all operations of this branch."""
        import tensorflow as tf

        graph = tf.compat.v1.get_default_graph()
        with tf.control_dependencies(graph.get_operations()), tf.device(self._counter.device):
            return tf.raw_ops.ResourceCountUpTo(resource=self._kept.handle, limit=_NO_LIMIT, T=tf.int64)

    def _refusal(self, why: str) -> UnsupportedOptimizerError:
        return UnsupportedOptimizerError(
            f"mode {self._mode} gathers the gradients of one optimizer that each step applies once, but {why}. "
            "Use mode async or sync."
        )


def _brought(gradient: Any, total: tf.Variable) -> Any:
    """The same gradient on the parameter server that holds its sum: sparse and large ones are not sent packed."""
    import tensorflow as tf

    with tf.device(total.device):
        return None if gradient is None else tf.nest.map_structure(tf.identity, gradient, expand_composites=True)


def _known(gradients: Sequence[Any], sums: Sequence[tf.Variable]) -> Iterable[tuple[Any, tf.Variable]]:
    return [(g, total) for g, total in zip(gradients, sums, strict=True) if g is not None]


def _add(total: tf.Variable, gradient: Any) -> None:
    import tensorflow as tf

    with tf.device(total.device):
        if isinstance(gradient, tf.IndexedSlices):
            total.scatter_add(gradient)
        else:
            total.assign_add(gradient)


class _merged:  # noqa: N801 - used as a function
    """Within it, optimizers update variables where they are called, because the replicas have met already."""

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._extended = strategy.extended

    def __enter__(self) -> None:
        self._extended._use_merge_call = lambda: False

    def __exit__(self, *_: object) -> None:
        del self._extended._use_merge_call  # uncovers the class' own
