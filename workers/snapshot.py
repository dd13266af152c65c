"""A snapshot: the whole training state in plain arrays, the one currency between modes.

Evaluation, checkpoints, restarts, and a change of mode or of the number of workers all go through it. Arrays
are matched by position, not by name: Keras numbers layers per process (`dense`, `dense_1`, ...), so the same
model built a second time has other names in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.messages import Position
from workers.model.optimizers import optimizers

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt


@dataclass(frozen=True)
class Memory:
    """What the leader's callbacks remember (`workers.training.callback_memory`): plain JSON, and arrays that it
    refers to by number."""

    document: Any
    arrays: tuple[npt.NDArray[Any], ...] = ()


@dataclass(frozen=True)
class Snapshot:
    step: int
    samples: int
    clock: float
    weights: tuple[npt.NDArray[Any], ...]
    """`model.variables`, in order: weights, statistics, and the states of random generators."""
    optimizer: tuple[npt.NDArray[Any], ...]
    """`optimizer.variables`, in order, of the compiled optimizer and then of any other; `iterations` among them."""
    position: Position = ()
    """What was taken of the data; empty where nobody asked, and at the beginning."""
    schedule_scale: float = 1.0
    """Factor on the optimizer's learning-rate schedule, if it follows one."""
    callbacks: Memory | None = None
    """In snapshots that become checkpoints."""

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*self.weights, *self.optimizer))

    def is_finite(self) -> bool:
        """Whether every float is; a snapshot that is not must never be kept or scored."""
        return all(np.isfinite(a).all() for a in (*self.weights, *self.optimizer) if a.dtype.kind == "f")


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """What a snapshot holds of the model: everything but metric variables, which live for one step only."""
    metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics]


def optimizer_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for optimizer in optimizers(model) for variable in optimizer.variables]


def read(model: keras.Model, *, step: int = 0, samples: int = 0, clock: float = 0.0) -> Snapshot:
    """The state of `model` now, copied to this process."""
    return Snapshot(
        step=step,
        samples=samples,
        clock=clock,
        weights=tuple(to_numpy(v) for v in state_variables(model)),
        optimizer=tuple(to_numpy(v) for v in optimizer_variables(model)),
    )


def to_numpy(variable: keras.Variable) -> npt.NDArray[Any]:
    """The value as this process sees it; a mirrored variable's local copy (`int()` on one fails)."""
    import tensorflow as tf

    value = variable.value
    local = tf.distribute.get_strategy().experimental_local_results(value)[0]
    return np.asarray(tf.convert_to_tensor(local).numpy())


def load(model: keras.Model, snapshot: Snapshot) -> None:
    """Put `model` into the state of `snapshot`; raises ValueError where they do not fit."""
    write(state_variables(model), snapshot.weights, "weights")
    write(optimizer_variables(model), snapshot.optimizer, "optimizer variables")


def write(variables: list[keras.Variable], arrays: tuple[npt.NDArray[Any], ...], what: str) -> None:
    """Assign `arrays` to `variables`, in order.

    Raises:
        ValueError: they do not fit each other, naming the first variable that does not.
    """
    if len(variables) != len(arrays):
        raise ValueError(f"the snapshot holds {len(arrays)} {what}, the model has {len(variables)}")
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            raise ValueError(f"{variable.path} has shape {tuple(variable.shape)}, the snapshot {array.shape}")
        variable.assign(array)
