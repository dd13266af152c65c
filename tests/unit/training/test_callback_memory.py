"""The state of callbacks that checkpoints keep."""

from __future__ import annotations

from typing import Any

import pytest

from workers.training.callback_memory import recall, remember

pytestmark = pytest.mark.unit


class Waiting:
    """A callback with the attributes of Keras' EarlyStopping."""

    def __init__(self) -> None:
        self.wait, self.best = 3, 0.25


@pytest.mark.parametrize("steps", [[], [{"loss": 0.5, "mae": 0.1}, {"loss": 0.25, "mae": 0.2}]])
def test_attributes_and_logs_are_restored(steps: list[dict[str, float]]) -> None:
    """Also when an epoch has just begun, and no step was logged yet."""
    callback: Any = Waiting()
    memory = remember([callback], steps)
    callback.wait, callback.best = 0, 1.0
    assert recall(memory, [callback]) == steps
    assert (callback.wait, callback.best) == (3, 0.25)
