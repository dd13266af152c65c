"""Faults before, during and after a change of the mode: the run reaches its budget, and all is counted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.control.signals import Preempted
from orchestrator.results import RunResult
from tests.chaos.checker import check_clock, check_restarts, check_updates, check_writers
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis, Strike
from tests.chaos.watched_runs import BATCH, SLOW, Onlooker, run
from tests.integration.recorded_runs import Launched
from workers.messages import Task

pytestmark = pytest.mark.slow

W1, CHIEF, PS = Task("worker", 1), Task("chief", 0), Task("ps", 0)
KILL = signal.SIGKILL
SAMPLES, FIRST, STEPS, INTERVAL = 1200, 300, 900, 100
"""Batches of the budget; steps of `sync` with half of them, and with the rest taken by `async`; between checkpoints."""


def check(path: Path, result: RunResult, attempts: int) -> History:
    history = History.read(path)
    assert (result.status, result.stop_reason) == ("succeeded", "budget")
    assert (result.steps, result.samples, result.attempts) == (STEPS, SAMPLES * BATCH, attempts)
    assert result.updates == STEPS + (result.doubled_updates or 0)
    check_updates(history, result)
    check_restarts(history, INTERVAL)
    check_writers(history)
    check_clock(history, result)
    return history


def test_both_groups_are_restarted(tmp_path: Path) -> None:
    nemesis = Nemesis([Strike(W1, KILL, 120), Strike(CHIEF, KILL, FIRST + 150), Strike(PS, KILL, FIRST + 350)])
    result = run(tmp_path, nemesis, mode="switch:0.5", steps=SAMPLES, interval=INTERVAL, straggler=SLOW)
    history = check(tmp_path, result, attempts=5)
    assert [event.task for event in history.of("restart")] == ["worker:1", "chief:0", "ps:0"]
    assert [event.detail["step"] for event in history.of("switched")] == [FIRST]
    first = {step for attempt in (1, 2) for step in history.steps[attempt]}
    assert first == set(range(1, FIRST + 1))


class Meanwhile(Onlooker):
    """Acts once, while the second group is launched."""

    def __init__(self, act: Callable[[Onlooker], object]) -> None:
        super().__init__()
        self._done = False

        def once(own: Onlooker) -> None:
            if not self._done and CHIEF in own.pids:
                self._done = True
                act(own)

        self.launch_acts.append(once)


def test_the_second_group_is_launched_again_from_the_same_step(tmp_path: Path) -> None:
    onlooker = Meanwhile(lambda own: own.send(CHIEF, KILL))
    result = run(tmp_path, onlooker, mode="switch:0.5", steps=SAMPLES, interval=INTERVAL)
    history = check(tmp_path, result, attempts=3)
    assert [event.detail["step"] for event in history.of("goes_on")] == [FIRST]


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_an_interrupted_run_is_resumed_in_the_mode_that_it_had_reached(tmp_path: Path, when: str) -> None:
    path = tmp_path / "run"

    at = {"before": 100, "after": FIRST + 200}

    def leave(own: Onlooker) -> None:
        if when == "during" or own.step >= at[when]:
            raise Preempted

    onlooker = Meanwhile(leave) if when == "during" else Onlooker()
    if when != "during":
        onlooker.acts.append(leave)
    with pytest.raises(Preempted):
        run(path, onlooker, mode="switch:0.5", steps=SAMPLES, interval=INTERVAL, straggler=SLOW)
    fields = {"job": "exact.py", "mode": "switch:0.5", "workers": 2, "batch_size": BATCH}
    with Launched(**fields) as launched:
        result, start = launched.resume(path)
    assert start.endswith(f"in {'sync' if when == 'before' else 'async'}, of switch:0.5")
    history = check(path, result, attempts=3)
    assert len(history.of("switched")) == 1
