"""The outer optimizer of local SGD: Nesterov momentum over what the workers' mean changed in a round (DiLoCo).

Douillard et al., DiLoCo: Distributed low-communication training of language models, arXiv 2311.08105.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.model import state

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class OuterNesterov:
    """Moves trainable variables at the end of each round. Every worker computes the same from the same mean."""

    def __init__(self, variables: Sequence[keras.Variable], rate: float, momentum: float) -> None:
        import keras

        self._rate, self._decay = rate, momentum
        self._of = {id(variable): position for position, variable in enumerate(variables)}
        self._variables = list(variables)
        zeros = keras.initializers.Zeros()
        self.momentum = [keras.Variable(zeros, v.shape, v.dtype, trainable=False) for v in variables]
        """Part of the training state."""
        self._starts = [keras.Variable(zeros, v.shape, v.dtype, trainable=False) for v in variables]
        """The variables where the round began."""

    def load(self, momentum: Sequence[np.ndarray[Any, Any]]) -> None:
        """Continue with `momentum`, as `read` returned it; with none if it is empty."""
        values = momentum or [np.zeros(own.shape) for own in self.momentum]
        for own, value in zip(self.momentum, values, strict=True):
            own.assign(value)

    def begin_round(self) -> None:
        """A round begins at the variables' present values."""
        for start, variable in zip(self._starts, self._variables, strict=True):
            start.assign(variable.value)

    def read(self) -> tuple[np.ndarray[Any, Any], ...]:
        return tuple(state.to_numpy(momentum) for momentum in self.momentum)

    def moved(self, variable: keras.Variable, mean: tf.Tensor) -> tf.Tensor:
        """Trace what `variable` becomes when a round ends with this mean: the mean itself, if it is not trainable."""
        if (position := self._of.get(id(variable))) is None:
            return mean
        start, momentum = self._starts[position], self.momentum[position]
        change = start.value - mean
        momentum.assign(self._decay * momentum.value + change)
        start.assign(start.value - self._rate * (change + self._decay * momentum.value))
        return start.value
