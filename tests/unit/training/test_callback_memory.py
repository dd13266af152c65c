"""What checkpoints keep of callbacks."""

from __future__ import annotations

from typing import Any

import pytest

from workers.training.callback_memory import recall, remember

pytestmark = pytest.mark.unit


class Waiting:
    """As Keras' EarlyStopping holds it."""

    def __init__(self) -> None:
        self.wait, self.best = 3, 0.25


@pytest.mark.parametrize("steps", [[], [{"loss": 0.5, "mae": 0.1}, {"loss": 0.25, "mae": 0.2}]])
def test_what_was_held_and_logged_comes_back(steps: list[dict[str, float]]) -> None:
    """Also where an epoch has just begun, and no step was logged yet."""
    held: Any = Waiting()
    memory = remember([held], steps)
    held.wait, held.best = 0, 1.0
    assert recall(memory, [held]) == steps
    assert (held.wait, held.best) == (3, 0.25)
