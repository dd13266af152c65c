"""Epochs in a stream that knows none: after which steps a pass over the training data is complete."""

from __future__ import annotations


class Epochs:
    """Counts epochs, the same way on every replica.

    The stream joins an epoch's rest with the next one's start, so an epoch ends with the step that takes its last
    sample. Epochs shorter than a step are taken for one step each.
    """

    def __init__(self, samples: int, global_batch: int, step: int = 0, taken: int | None = None) -> None:
        """`samples` in an epoch, `global_batch` in a step; `step` is the one that training goes on from.

        `taken` samples were trained on until then; None if each step before held `global_batch` as well.
        """
        self._samples = max(samples, global_batch)
        self._global_batch = global_batch
        self._step = step
        self._taken = step * global_batch if taken is None else taken
        self.number = self._taken // self._samples
        """Of the epoch under way, from 0 as Keras counts."""

    @property
    def end(self) -> int:
        """The step with which it ends."""
        return self._step - (self._taken - (self.number + 1) * self._samples) // self._global_batch
