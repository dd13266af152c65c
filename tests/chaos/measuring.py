"""Measures how long it takes to detect each fault and to train again, with the default limits."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.checker import check_run
from tests.chaos.nemesis import Nemesis, Strike
from tests.chaos.watched_runs import run
from workers.messages import Task

HANG_SECONDS = 30.0
_AT, _INTERVAL = 1000, 500
_ROWS = [
    ("sync", ("worker", 1)),
    ("sync", ("worker", 0)),
    ("async", ("worker", 1)),
    ("async", ("ps", 0)),
    ("async", ("chief", 0)),
    ("sync", ("evaluator", 0)),
]
_AFTERWARDS = {("async", "worker"): 40.0, ("sync", "evaluator"): 35.0}
"""Seconds for which training may continue without the task, so that the run has to last longer."""
_RATE = {"sync": 800, "async": 3000}


def measure() -> Iterator[str]:
    """Yield the lines of a Markdown table, one fault each."""
    yield "| mode | fault | found after | trains again after | steps repeated | longest gap |"
    yield "|---|---|---|---|---|---|"
    for mode, task in _ROWS:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            if (mode, task[0], number) == ("async", "ps", signal.SIGSTOP):
                continue  # the weights are in memory: it holds up nothing
            yield _row(mode, Task(*task), number)


def _row(mode: str, task: Task, number: signal.Signals) -> str:
    seconds = _AFTERWARDS.get((mode, task.type), 0.0) if number is signal.SIGSTOP else 4.0
    steps = 2 * _AT + int(_RATE[mode] * seconds)
    nemesis = Nemesis([Strike(task, number, _AT)])
    with tempfile.TemporaryDirectory(prefix="regatta-measure-") as folder:
        result = run(Path(folder), nemesis, mode=mode, steps=steps, interval=_INTERVAL, hang_seconds=HANG_SECONDS)
        history = check_run(Path(folder), result, steps, _INTERVAL)
    [(struck, _)] = nemesis.struck
    found = history.of("failure")[0].time - struck
    back = [event.time for event in history.of("leg_started") if event.attempt == 2]
    back += [event.time for event in history.of("rejoined")]
    again = f"{back[0] - struck:.1f} s" if back else "-"
    repeated = "-"
    if result.attempts == 2:
        repeated = str(max(history.steps[1]) - history.of("goes_on")[0].detail["step"])
    gap = f"{history.longest_gap():.1f} s"
    return f"| {mode} | {number.name} {task} | {found:.1f} s | {again} | {repeated} | {gap} |"
