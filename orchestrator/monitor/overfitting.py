"""Overfitting: the training loss still falls while the validation loss has turned."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.monitor.advice import finding
from orchestrator.results import Finding

WORSE = 0.05
"""Share by which a validation loss is above its best that counts as worse."""
IN_A_ROW = 3
"""Evaluations that have to be worse."""


class Level(NamedTuple):
    """The training loss around a snapshot."""

    loss: float
    judged: float
    """On the scale of `LossScale`: differences are ratios."""
    error: float
    """Standard error of `judged`."""


class OverfittingRule:
    """Prechelt's generalisation loss ("Early Stopping - But When?", 1998): `GL = loss / lowest so far - 1`.

    Three evaluations in a row with GL over 5 %, not falling among themselves, while the training loss (mean
    level of 256 steps up to each snapshot) fell by 2 % and three standard errors since the best evaluation.
    Three, because one evaluation has noise of its own and the lowest of many is low by luck: it is compared
    with the median of the best and its neighbours. The episode ends at a new best.
    """

    def __init__(self) -> None:
        self._previous: float | None = None
        self._best: tuple[float, int, Level | None] | None = None
        self._around: list[float] = []
        self._after: list[float] = []
        self._open = False

    def on_evaluation(self, step: int, clock: float, validation: float, training: Level | None) -> Finding | None:
        previous, self._previous = self._previous, validation
        if self._best is None or validation < self._best[0]:
            self._best = (validation, step, training)
            self._around = [validation] if previous is None else [previous, validation]
            self._after, self._open = [], False
            return None
        if not self._after:
            self._around.append(validation)
        self._after = [*self._after, validation][-IN_A_ROW:]
        best, best_step, best_training = self._best
        if self._open or training is None or best_training is None or len(self._after) < IN_A_ROW:
            return None
        usual = sorted(self._around)[(len(self._around) - 1) // 2]
        limit = usual + WORSE * abs(usual)
        fell = best_training.judged - training.judged
        if min(self._after) <= limit or self._after[-1] < self._after[0] or fell < max(0.02, 3 * training.error):
            return None
        self._open = True
        return finding(
            "overfitting",
            step,
            clock,
            "the model fits the training data better and unseen data worse",
            f"validation loss {best:.4g} at step {best_step}, {validation:.4g} now; training loss "
            f"{best_training.loss:.4g} then, {training.loss:.4g} now",
        )
