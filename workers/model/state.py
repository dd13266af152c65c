"""Converts the state of a Keras model and its optimizers to plain arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workers.model.optimizers import optimizers
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt
    import tensorflow as tf


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of the model that a snapshot holds: all but those of metrics, which live for one step only.

    With the states of stateful RNNs, which Keras does not count among a model's variables.
    """
    import keras

    metrics = {id(v) for v in model.metrics_variables}
    remembering = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    states = keras.tree.flatten([getattr(layer, "states", None) for layer in remembering])
    found = [*model.variables, *(state for state in states if isinstance(state, keras.Variable))]
    return [v for v in {id(v): v for v in found}.values() if id(v) not in metrics]


def optimizer_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of all optimizers of the model, in order; each once, because an optimizer may list another's."""
    found = (variable for optimizer in optimizers(model) for variable in optimizer.variables)
    return list({id(variable): variable for variable in found}.values())


def read(model: keras.Model, *, step: int = 0, samples: int = 0, clock: float = 0.0) -> Snapshot:
    """Copy the current state of `model` to this process."""
    known = _often_used(model)
    if known is not None:
        weights, optimizer = known.read()
    else:
        weights = tuple(to_numpy(v) for v in state_variables(model))
        optimizer = tuple(to_numpy(v) for v in optimizer_variables(model))
    return Snapshot(step=step, samples=samples, clock=clock, weights=weights, optimizer=optimizer)


class _Compiled:
    """Reads and writes all variables of a model at once: one by one, each takes 0.1 ms and more.

    Tracing takes a while, so it waits until the variables have been read `AFTER` times.
    """

    AFTER = 5

    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf
        from tensorflow.python.distribute.values import MirroredVariable
        from tensorflow.python.ops.resource_variable_ops import ResourceVariable

        self.optimizer = model.optimizer
        self._weights = len(state_variables(model))
        self.variables = [*state_variables(model), *optimizer_variables(model)]
        self._shapes = [tuple(variable.shape) for variable in self.variables]
        self._plain = all(type(variable._value) is ResourceVariable for variable in self.variables)
        self.local = all(type(variable._value) in (ResourceVariable, MirroredVariable) for variable in self.variables)
        """Whether this process has the values of all variables."""
        self._read = tf.function(lambda: [tf.convert_to_tensor(v.value) for v in self.variables], autograph=False)
        self._write = tf.function(self._assign, autograph=False)

    def read(self) -> tuple[tuple[npt.NDArray[Any], ...], tuple[npt.NDArray[Any], ...]]:
        """The weights, and the optimizers' variables."""
        arrays = tuple(np.asarray(tensor.numpy()) for tensor in self._read())
        return arrays[: self._weights], arrays[self._weights :]

    def write(self, snapshot: Snapshot) -> bool:
        """Assign the arrays of `snapshot`; returns False if they do not fit, or variables have copies elsewhere."""
        arrays = [*snapshot.weights, *snapshot.optimizer]
        fits = len(snapshot.weights) == self._weights and [array.shape for array in arrays] == self._shapes
        if fits and self._plain:
            self._write(arrays)
        return fits and self._plain

    def _assign(self, tensors: list[Any]) -> None:
        import tensorflow as tf

        for variable, tensor in zip(self.variables, tensors, strict=True):
            variable._value.assign(tf.cast(tensor, variable._value.dtype))


_USES = "_regatta_state"


def _often_used(model: keras.Model) -> _Compiled | None:
    """The compiled access to the model's variables, if it is used often and they are in this process."""
    uses = vars(model).get(_USES, 0)
    if isinstance(uses, _Compiled) and uses.optimizer is model.optimizer:
        return uses
    uses = 1 if isinstance(uses, _Compiled) else uses + 1
    if uses > _Compiled.AFTER:
        made = _Compiled(model)
        uses = made if made.local else -(2**60)
    vars(model)[_USES] = uses
    return uses if isinstance(uses, _Compiled) else None


def to_numpy(variable: keras.Variable) -> npt.NDArray[Any]:
    """The value of `variable` on this process; of a mirrored variable, its local copy (`int()` on one fails)."""
    import tensorflow as tf

    value = variable.value
    local = tf.distribute.get_strategy().experimental_local_results(value)[0]
    return np.asarray(tf.convert_to_tensor(local).numpy())


def load(model: keras.Model, snapshot: Snapshot) -> None:
    """Put `model` into the state of `snapshot`; raises ValueError if they do not fit."""
    known = _often_used(model)
    if known is not None and known.write(snapshot):
        return
    write(state_variables(model), snapshot.weights, "weights")
    write(optimizer_variables(model), snapshot.optimizer, "optimizer variables")


def write(variables: list[keras.Variable], arrays: tuple[npt.NDArray[Any], ...], what: str) -> None:
    """Assign `arrays` to `variables`, in order.

    Raises:
        ValueError: a number or shape differs; names the first variable that does not fit.
    """
    if len(variables) != len(arrays):
        raise ValueError(f"the snapshot holds {len(arrays)} {what}, the model has {len(variables)}")
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            raise ValueError(f"{variable.path} has shape {tuple(variable.shape)}, the snapshot {array.shape}")
        variable.assign(array)


def tensors(variables: list[keras.Variable]) -> list[tf.Tensor]:
    """The values of `variables` as tensors, to be read in one call: one by one, 20 remote ones take 100 ms."""
    import tensorflow as tf

    return [tf.convert_to_tensor(variable.value) for variable in variables]
