"""A snapshot: the whole training state as plain arrays, in the same form for every mode.

Evaluations, checkpoints, restarts, and changes of mode or of the number of workers all use it. Arrays are matched by
position, not by name: Keras numbers layers per process (`dense`, `dense_1`, ...), so the same model built a second time
has other names in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.messages import Position

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class CallbackMemory:
    """State of the leader's callbacks (`workers.training.callback_memory`): a JSON document, and the arrays that it
    refers to by index."""

    document: Any
    arrays: tuple[npt.NDArray[Any], ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The training state after `step` updates."""

    step: int
    samples: int
    clock: float
    weights: tuple[npt.NDArray[Any], ...]
    """`model.variables` in order, without those of metrics: weights, statistics, states of random generators."""
    optimizer: tuple[npt.NDArray[Any], ...]
    """`optimizer.variables` in order, `iterations` included: the compiled optimizer's, then those of any others."""
    position: Position = ()
    """Batches taken of the data so far; empty at the start of a run, and before the training loop fills it in."""
    schedule_scale: float = 1.0
    """Factor on the optimizer's learning-rate schedule, if it has one."""
    outer: tuple[npt.NDArray[Any], ...] = ()
    """Momentum of an outer optimizer (`workers.modes.local`) for each trainable variable; empty without one."""
    gathered: tuple[npt.NDArray[Any], ...] = ()
    """Gradients that wait to be applied together (`workers.modes.gathering`); empty if there are none."""
    callbacks: CallbackMemory | None = None
    """Only in snapshots that become checkpoints."""

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*self.weights, *self.optimizer, *self.outer, *self.gathered))

    def is_finite(self) -> bool:
        """Whether all floats are finite; otherwise the snapshot must not be kept or scored."""
        arrays = (*self.weights, *self.optimizer, *self.outer, *self.gathered)
        return all(np.isfinite(a).all() for a in arrays if a.dtype.kind == "f")
