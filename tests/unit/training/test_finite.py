"""`FiniteWeights`: looks every second, at once after a bad loss, and not at what is not trained."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workers.modes.mode import Call
from workers.snapshot import Snapshot
from workers.training.finite import FiniteWeights

pytestmark = pytest.mark.unit


class Watched:
    def __init__(self, *weights: float, trainable: tuple[bool, ...] = (True, False)) -> None:
        self.now, self.looks, self.cost = 0.0, 0, 0.0
        self.state = Snapshot(1, 1, 0.0, tuple(np.array(weight) for weight in weights), (np.array(math.nan),))
        self.weights = FiniteWeights(trainable, lambda: self.now)

    def after(self, seconds: float, loss: float = 1.0) -> bool:
        """Whether the weights are lost after a call that ended `seconds` later."""
        self.now += seconds
        self.weights.observe([Call(0, np.array([1]), np.array([[loss]]), 0.0, 0.1)], self._read)
        return self.weights.lost

    def _read(self) -> Snapshot:
        self.looks += 1
        self.now += self.cost
        return self.state


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_are_looked_at_every_second(value: float) -> None:
    watched = Watched(value, 1.0)
    assert not watched.after(0.5)
    assert watched.after(0.6), "even if the loss is finite, as after oneDNN's fused layers"
    assert watched.looks == 1


def test_a_bad_loss_makes_it_look_at_once_and_then_every_second() -> None:
    watched = Watched(1.0, 1.0)
    assert not any(watched.after(0.1, math.nan) for _ in range(5)), "the weights are finite: a step was skipped"
    assert watched.looks == 1
    assert Watched(math.nan, 1.0).after(0.1, math.inf)


def test_what_is_not_trained_may_be_infinite() -> None:
    assert not Watched(1.0, math.inf).after(2.0)


def test_weights_that_take_long_to_read_are_read_rarely() -> None:
    watched = Watched(1.0, 1.0)
    watched.cost = 1.0
    for _ in range(19):
        watched.after(1.0)
    assert watched.looks == 1
