"""Converts the state of a Keras model and its optimizers to plain arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workers.model.optimizers import optimizers
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of the model that a snapshot holds: all but those of metrics, which live for one step only."""
    metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics]


def optimizer_variables(model: keras.Model) -> list[keras.Variable]:
    """The variables of all optimizers of the model, in order."""
    return [variable for optimizer in optimizers(model) for variable in optimizer.variables]


def read(model: keras.Model, *, step: int = 0, samples: int = 0, clock: float = 0.0) -> Snapshot:
    """Copy the current state of `model` to this process."""
    return Snapshot(
        step=step,
        samples=samples,
        clock=clock,
        weights=tuple(to_numpy(v) for v in state_variables(model)),
        optimizer=tuple(to_numpy(v) for v in optimizer_variables(model)),
    )


def to_numpy(variable: keras.Variable) -> npt.NDArray[Any]:
    """The value of `variable` on this process; of a mirrored variable, its local copy (`int()` on one fails)."""
    import tensorflow as tf

    value = variable.value
    local = tf.distribute.get_strategy().experimental_local_results(value)[0]
    return np.asarray(tf.convert_to_tensor(local).numpy())


def load(model: keras.Model, snapshot: Snapshot) -> None:
    """Put `model` into the state of `snapshot`; raises ValueError if they do not fit."""
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
