"""Overfitting: the validation loss rises while the training loss still falls."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.monitor.advice import finding
from orchestrator.results import Finding

WORSE = 0.05
"""Smallest share by which a worse validation loss is above the best."""
IN_A_ROW = 3
"""Number of worse evaluations that are a finding."""


class Level(NamedTuple):
    """Mean training loss before a snapshot."""

    loss: float
    judged: float
    """The loss on its `LossScale`, on which differences are ratios."""
    error: float
    """Standard error of `judged`."""


class OverfittingRule:
    """Overfitting by Prechelt's generalisation loss ("Early Stopping - But When?", 1998): `GL = loss / lowest - 1`.

    GL is over 5 % in three evaluations in a row, of which the last is no better than the first, while the training
    loss (mean level of the 256 steps up to each snapshot) has fallen by 2 % and by three standard errors since the best
    evaluation, and is below the validation loss: a model that predicts its training data worse than unseen data has not
    memorised them. One evaluation is noisy, and the lowest of many is low by luck: hence three evaluations, compared
    with the median of the best and those next to it. A run is told so once.
    """

    def __init__(self) -> None:
        self._told = False
        self.rewound()

    def rewound(self) -> None:
        """Forget the evaluations: training resumes from an earlier state."""
        self._previous: float | None = None
        self._best: tuple[float, int, Level | None] | None = None
        self._around: list[float] = []
        self._after: list[float] = []

    def on_evaluation(self, step: int, clock: float, validation: float, training: Level | None) -> Finding | None:
        previous, self._previous = self._previous, validation
        if self._best is None or validation < self._best[0]:
            self._best = (validation, step, training)
            self._around = [validation] if previous is None else [previous, validation]
            self._after = []
            return None
        if not self._after:
            self._around.append(validation)
        self._after = [*self._after, validation][-IN_A_ROW:]
        best, best_step, best_training = self._best
        if self._told or training is None or best_training is None or len(self._after) < IN_A_ROW:
            return None
        usual = sorted(self._around)[(len(self._around) - 1) // 2]
        limit = usual + WORSE * abs(usual)
        fell = best_training.judged - training.judged
        if min(self._after) <= limit or self._after[-1] < self._after[0] or fell < max(0.02, 3 * training.error):
            return None
        if training.loss > min(self._after):
            return None
        self._told = True
        return finding(
            "overfitting",
            step,
            clock,
            "the model gets better on the training data and worse on unseen data",
            f"validation loss {best:.4g} at step {best_step}, {validation:.4g} now; training loss "
            f"{best_training.loss:.4g} then, {training.loss:.4g} now",
        )
