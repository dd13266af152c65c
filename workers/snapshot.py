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

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class CallbackMemory:
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
    callbacks: CallbackMemory | None = None
    """In snapshots that become checkpoints."""

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*self.weights, *self.optimizer))

    def is_finite(self) -> bool:
        """Whether every float is; a snapshot that is not must never be kept or scored."""
        return all(np.isfinite(a).all() for a in (*self.weights, *self.optimizer) if a.dtype.kind == "f")
