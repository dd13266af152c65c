"""How the chief of an asynchronous group cuts the steps until a boundary into calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.made import assignment
from workers.messages import Task
from workers.modes.async_ import AsyncMode
from workers.modes.async_group import Outcome
from workers.modes.mode import Call, Decision

pytestmark = pytest.mark.unit


class InTurn:
    """Workers that take calls at once, one after the other."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.steps: list[int] = []
        self.count = 0

    def schedule(self, function: Callable[[int], None]) -> None:
        function(len(self.steps) % self.workers)

    def run(self, worker: int, steps: int) -> Outcome:
        self.steps.append(steps)
        numbers = np.arange(self.count + 1, self.count + steps + 1)
        self.count += steps
        return Outcome(np.zeros((steps, 1)), numbers, np.append(numbers - 1, self.count), None, None)

    def get(self, source: Any) -> Any:
        return source.get()


@pytest.mark.parametrize(("tuned", "workers", "largest"), [(1000, 2, 125), (1000, 4, 63), (10, 2, 10)])
def test_every_worker_has_a_share_of_a_short_epoch(tuned: int, workers: int, largest: int) -> None:
    cluster = {"cluster": {"worker": [f"h:{index}" for index in range(workers)]}}
    no_job: Any = None
    mode: Any = AsyncMode(assignment(Task("chief", 0), cluster, mode="async"), no_job)
    group = mode._group = InTurn(workers)
    mode._paces = [None] * workers
    calls: list[Call] = []
    while mode.step < 250:
        calls += mode.advance(Decision(steps=tuned), 250, 250)[0]
    assert sum(group.steps) == sum(len(call.steps) for call in calls) == 250
    assert max(group.steps) == group.steps[0] == largest
