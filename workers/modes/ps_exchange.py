"""Packs what an asynchronous step and each parameter server send each other: one message there, one back.

TensorFlow sends every variable that a step reads, and every gradient, as a message of its own, and for small models
the number of messages is the cost of a step. Here each parameter server packs its small variables into one tensor,
which the worker splits, and the worker packs its gradients in the same way. Models, optimizers and variables are not
changed: reads are redirected while the step is traced, and gradients where Keras would reduce them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from workers.model.optimizers import innermost, optimizers

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SMALL_BYTES = 1 << 18
"""A larger variable or gradient is sent alone, because its bytes cost more than the message."""

Messages = tuple["tf.Tensor", ...]
_WORDS = 4
"""Two int64 as float32 words."""


class PsExchange:
    """Reads and updates of one model under ParameterServerStrategy."""

    def __init__(
        self, model: keras.Model, counter: tf.Variable, weigh: Callable[[tf.Tensor], tf.Tensor] | None = None
    ) -> None:
        """`weigh` returns the factor on a gradient of a given staleness, as a scalar float32; None for 1."""
        from tensorflow.python.distribute.ps_values import CachingVariable

        self._counter = counter
        self._weigh = weigh
        self._read_at: tf.Tensor | None = None
        """The number of updates applied when the weights of the step under way were read; None without `weigh`."""
        self._written = False
        # Other variables, such as statistics and states of random generators, may be written and read within a step.
        held = [variable.value for variable in model.trainable_variables]
        small = [v for v in held if isinstance(v, CachingVariable) and _bytes(v) <= SMALL_BYTES]
        self._groups = list(_grouped(small, lambda v: (v.device, v.dtype.name)))
        near = (n for n, (v, *_) in enumerate(self._groups) if (v.device, v.dtype.name) == (counter.device, "float32"))
        self._carrier = next(near, None)
        """Index of the group whose message starts with the two numbers, bitcast to float32."""
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
        """The number of updates applied, on the parameter server that counts them."""
        import tensorflow as tf

        # The variable's own `read_value` brings the value to the worker first, which costs a round trip.
        with tf.device(self._counter.device):
            return tf.raw_ops.ReadVariableOp(resource=self._counter.handle, dtype=tf.int64)

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
        self._read_at = None if self._weigh is None else self.numbers(messages)[1]
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
        return [(None if g is None else _times(g, weight, variable), variable) for g, variable in pairs]


def _times(gradient: Any, weight: tf.Tensor, variable: Any) -> Any:
    """Multiply on the parameter server that holds the variable."""
    import tensorflow as tf

    with tf.device(variable.device):
        if isinstance(gradient, tf.IndexedSlices):
            values = gradient.values * tf.cast(weight, gradient.values.dtype)
            return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        return gradient * tf.cast(weight, gradient.dtype)


_READS = ("value", "read_value", "_dense_var_to_tensor")
_WRITES = ("assign", "assign_add", "assign_sub")


def packed_by_server(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The same pairs of gradient and variable, with small gradients sent to each parameter server in one piece."""
    import tensorflow as tf

    pairs = list(pairs)
    small = [p for p, (gradient, _) in enumerate(pairs) if _is_small(gradient)]
    for group in _grouped(small, lambda p: (pairs[p][1].device, pairs[p][0].dtype.name)):
        packed = tf.concat([tf.reshape(pairs[p][0], [-1]) for p in group], axis=0)
        with tf.device(pairs[group[0]][1].device):
            parts = tf.split(tf.identity(packed), [pairs[p][0].shape.num_elements() for p in group])
            for position, part in zip(group, parts, strict=True):
                gradient, variable = pairs[position]
                pairs[position] = tf.reshape(part, gradient.shape), variable
    return pairs


def _is_small(gradient: Any) -> bool:
    import tensorflow as tf

    if gradient is None or isinstance(gradient, tf.IndexedSlices) or not gradient.shape.is_fully_defined():
        return False
    return _bytes(gradient) <= SMALL_BYTES


def _bytes(value: Any) -> int:
    return int(value.shape.num_elements() * value.dtype.size)


def _grouped(items: Sequence[Any], key: Callable[[Any], Any]) -> Iterator[list[Any]]:
    for _, group in groupby(sorted(items, key=key), key):
        yield list(group)
