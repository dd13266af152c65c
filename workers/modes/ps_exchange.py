"""Packs what an asynchronous step and each parameter server send each other: one message there, one back.

TensorFlow sends every variable that a step reads, and every gradient, as a message of its own, and for small models
the number of messages is the cost of a step. Here each parameter server packs its small variables into one tensor,
which the worker splits, and the worker packs its gradients in the same way. Models, optimizers and variables are not
changed: reads are redirected while the step is traced, and gradients where Keras would reduce them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workers.model.optimizers import innermost, optimizers
from workers.modes.async_group import weighed
from workers.modes.gathering import Gathering
from workers.modes.packing import SMALL_BYTES, grouped, packed_by_server, size_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Messages = tuple["tf.Tensor", ...]
_NO_LIMIT = 2**62
_WORDS = 4
"""Two int64 as float32 words."""


class PsExchange:
    """Reads and updates of one model under ParameterServerStrategy."""

    def __init__(
        self,
        model: keras.Model,
        counter: tf.Variable,
        weigh: Callable[[tf.Tensor], tf.Tensor] | None = None,
        gathering: Gathering | None = None,
    ) -> None:
        """`weigh` returns the factor on a gradient of a given staleness, as a scalar float32; None for 1. With a
        `gathering`, it decides when the weights are updated."""
        from tensorflow.python.distribute.ps_values import CachingVariable

        self._counter = counter
        self._weigh = weigh
        self._gathering = gathering
        self._read_at: tf.Tensor | None = None
        """The number of updates applied when the weights of the step under way were read."""
        self._written = False
        # Other variables, such as statistics and states of random generators, may be written and read within a step.
        held = [variable.value for variable in model.trainable_variables]
        small = [v for v in held if isinstance(v, CachingVariable) and size_of(v) <= SMALL_BYTES]
        self._groups = list(grouped(small, lambda v: (v.device, v.dtype.name)))
        near = (n for n, (v, *_) in enumerate(self._groups) if (v.device, v.dtype.name) == (counter.device, "float32"))
        self._carrier = next(near, None)
        """Index of the group whose message starts with the two numbers, bitcast to float32."""
        if gathering is not None:
            gathering.attach(self._push, lambda: self._read_at)
            return
        for optimizer in optimizers(model):
            innermost(optimizer)._all_reduce_sum_gradients = self._push

    def fetch(self, counted: tf.Tensor | None = None) -> Messages:
        """Read what a step starts from, packed as messages: first the number of updates applied, then the weights.

        The messages also carry `counted`, the count before the update after which this read happens.
        """
        import tensorflow as tf

        messages = []
        with tf.control_dependencies([] if counted is None else [counted]):
            seen = self.applied()
        with tf.device(self._counter.device):
            numbers = tf.stack([seen if counted is None else counted, seen])
        with tf.control_dependencies([seen]):
            for n, group in enumerate(self._groups):
                with tf.device(group[0].device):
                    parts = [tf.reshape(v.get().read_value(), [-1]) for v in group]
                    if n == self._carrier:
                        parts.insert(0, tf.reshape(tf.bitcast(numbers, tf.float32), [-1]))
                    messages.append(tf.concat(parts, axis=0))
        if self._carrier is None:
            messages.append(numbers)
        return tuple(map(tf.identity, messages))

    def applied(self) -> tf.Tensor:
        """The number of updates applied, on the parameter server that counts them; of gradients kept, if gathered."""
        import tensorflow as tf

        if self._gathering is not None:
            return self._gathering.read()
        # The variable's own `read_value` brings the value to the worker first, which costs a round trip.
        with tf.device(self._counter.device):
            return tf.raw_ops.ReadVariableOp(resource=self._counter.handle, dtype=tf.int64)

    def updates(self) -> tf.Tensor:
        """The number of updates applied, from which the optimizers' `iterations` follow."""
        import tensorflow as tf

        if self._gathering is None:
            return self.applied()
        with tf.device(self._counter.device):
            return self._gathering.read() // self._gathering.wanted

    def count(self) -> tf.Tensor:
        """Count the update that the control dependencies in scope stand for; returns the count before it."""
        import tensorflow as tf

        if self._gathering is None:
            # An atomic fetch-and-add. A read after `assign_add` would include updates of others in between.
            return tf.raw_ops.ResourceCountUpTo(resource=self._counter.handle, limit=_NO_LIMIT, T=tf.int64)
        with tf.device(self._counter.device):  # counted already, under the lock
            return tf.identity(self._gathering.counted)

    def numbers(self, messages: Messages) -> tuple[tf.Tensor, tf.Tensor]:
        """Unpack the two numbers: `counted`, and the number of updates applied when the weights were read."""
        import tensorflow as tf

        if self._carrier is None:
            numbers = messages[-1]
        else:
            numbers = tf.bitcast(tf.reshape(messages[self._carrier][:_WORDS], [2, -1]), tf.int64)
        return numbers[0], numbers[1]

    @contextmanager
    def reading(self, messages: Messages) -> Iterator[None]:
        """Redirect a replica's reads to `messages` while it is traced in this scope, until it writes a variable."""
        import tensorflow as tf

        self._written = False
        self._read_at = self.numbers(messages)[1]
        if self._gathering is not None:
            self._gathering.step_begins()
        redirected = []
        try:
            for n, (group, message) in enumerate(zip(self._groups, messages, strict=False)):
                sizes = [v.shape.num_elements() for v in group]
                if n == self._carrier:
                    _, *parts = tf.split(message, [_WORDS, *sizes])
                else:
                    parts = tf.split(message, sizes)
                for variable, part in zip(group, parts, strict=True):
                    self._redirect(variable, tf.reshape(part, variable.shape))
                    redirected.append(variable)
            yield
        finally:
            for variable in redirected:
                for name in (*_READS, *_WRITES):
                    vars(variable).pop(name, None)

    def _redirect(self, variable: Any, value: tf.Tensor) -> None:
        read = self._reader(variable.get(), value)

        def convert(dtype: Any = None, name: Any = None, as_ref: bool = False) -> Any:
            current = read()
            return current if dtype is None or dtype.is_compatible_with(current.dtype) else NotImplemented

        variable.value = variable.read_value = read
        variable._dense_var_to_tensor = convert
        for name in _WRITES:
            setattr(variable, name, self._writer(getattr(variable.get(), name)))

    def _reader(self, variable: tf.Variable, value: tf.Tensor) -> Callable[[], tf.Tensor]:
        """Return a function that reads `value` in replica context, and `variable` elsewhere, as optimizers need it."""
        import tensorflow as tf
        from tensorflow.python.eager import record
        from tensorflow.python.ops.resource_variable_ops import variable_accessed

        def read() -> tf.Tensor:
            if self._written or tf.distribute.in_cross_replica_context():
                return variable.read_value()
            with value.graph.as_default():  # also when read in a loop (RNNs), whose gradient ends at its captures
                variable_accessed(variable)
                copy = tf.identity(value)
                # A gradient tape takes this for a read of the variable itself.
                record.record_operation("ReadVariableOp", [copy], [variable.handle], lambda upstream: [upstream])
            return copy

        return read

    def _writer(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            self._written = True
            return write(*args, **kwargs)

        return recorded

    def _push(self, pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        self._written = True  # a step with two optimizers reads, for the second, what the first wrote
        arrived = packed_by_server(pairs)
        return arrived if self._weigh is None else self._weighed(arrived, self._weigh)

    def _weighed(self, pairs: list[tuple[Any, Any]], weigh: Callable[[tf.Tensor], tf.Tensor]) -> list[tuple[Any, Any]]:
        """The same pairs with gradients multiplied by their weight, when all of them have arrived."""
        import tensorflow as tf

        gradients = [gradient for gradient, _ in pairs if gradient is not None]
        with tf.control_dependencies(tf.nest.flatten(gradients, expand_composites=True)):
            applied = self.applied()
        with tf.device(self._counter.device):
            weight = weigh(applied - self._read_at)
        return weighed(pairs, weight)


_READS = ("value", "read_value", "_dense_var_to_tensor")
_WRITES = ("assign", "assign_add", "assign_sub")
