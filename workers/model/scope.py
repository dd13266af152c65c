"""A scope in which chosen Keras variables live for one training step only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    Logs = dict[str, tf.Tensor]
    Step = Callable[[Any], tf.Tensor]


def step_scope(local: Iterable[tuple[keras.Variable, tf.Tensor]], within: Any = None) -> Any:
    """Return a scope in which the `local` variables are plain tensors, starting at the values given.

    Built on `keras.StatelessScope`, which redirects reads and `assign`s of Keras variables. All other variables are
    assigned directly, as outside any scope. `get_current_value` answers for every variable, because Keras' weight
    regularisers read through it.

    `within` is a scope of the same step in another thread, which shares its local variables: an optimizer counts its
    updates in the replica's thread, and reads the count in the one where TensorFlow runs a `merge_call`.
    """
    import keras

    class StepScope(keras.StatelessScope):  # type: ignore[misc]
        def __init__(self) -> None:
            pairs = list(local)
            super().__init__(state_mapping=pairs, collect_losses=True, initialize_variables=False)
            self._local = {id(variable) for variable, _ in pairs}
            self.updates: Counter[int] = Counter()
            """How often each local variable is assigned to, by its id."""

        def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
            variable, value = update
            if id(variable) in self._local:
                self.updates[id(variable)] += 1
                super().add_update(update)
                if within is not None and id(variable) in within.state_mapping:
                    within.state_mapping[id(variable)] = self.state_mapping[id(variable)]
            else:
                variable._direct_assign(value)

        def get_current_value(self, variable: keras.Variable) -> Any:
            value = super().get_current_value(variable)
            return variable._value if value is None else value

    return StepScope()
