"""Trains run after run under random faults, and checks each, for a given time."""

from __future__ import annotations

import collections
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.plan.topology import EVALUATOR
from tests.chaos.checker import check_run
from tests.chaos.nemesis import Nemesis, draw
from tests.chaos.watched_runs import run
from workers.modes.registry import traits

STEPS = {True: 1500, False: 3000}
INTERVAL = {True: 100, False: 300}
"""Of a run in which workers take each step together, and of others."""
FAULTS_PER_RUN = 5
HANG_SECONDS = 2.0


@dataclass
class Tally:
    """Counts of a soak test."""

    runs: int = 0
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    """Number of faults by signal and task."""
    attempts: int = 0
    replaced: int = 0
    doubled: int = 0
    down: list[float] = field(default_factory=list)
    """Seconds from each restart to the next step of training."""

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        slowest = f"; slowest restart {max(self.down):.1f} s" if self.down else ""
        return (
            f"{self.runs} runs reached their budget under {self.faults.total()} faults ({kinds}): "
            f"{self.attempts} attempts, {self.replaced} tasks replaced, {self.doubled} doubled updates counted{slowest}"
        )


def soak(mode: str, seed: int, seconds: float, say: Callable[[str], None] = print) -> Tally:
    """Train runs with faults drawn from `seed`, `seed + 1`, ... until the time is up.

    Raises what the first run that fails or violates a property raises, after printing the seed that reproduces it.
    """
    tally = Tally()
    tasks = [*traits(mode).tasks(2, 1), EVALUATOR]
    together = traits(mode).lockstep
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        plan = draw(seed, tasks, STEPS[together], FAULTS_PER_RUN)
        say(f"seed {seed}: {'; '.join(map(str, plan))}")
        with tempfile.TemporaryDirectory(prefix="regatta-soak-") as folder:
            try:
                _one(mode, Path(folder), Nemesis(plan), tally)
            except BaseException:
                say(f"failed: `python -m tests.chaos --mode {mode} --seed {seed} --minutes 0.01` reproduces it")
                raise
        seed += 1
    return tally


def _one(mode: str, folder: Path, nemesis: Nemesis, tally: Tally) -> None:
    together = traits(mode).lockstep
    result = run(
        folder,
        nemesis,
        mode=mode,
        steps=STEPS[together],
        interval=INTERVAL[together],
        hang_seconds=HANG_SECONDS,
        max_restarts=2 * FAULTS_PER_RUN,
    )
    history = check_run(folder, result, STEPS[together], INTERVAL[together])
    tally.runs += 1
    tally.faults.update(f"{strike.signal.name} {strike.task.type}" for _, strike in nemesis.struck)
    tally.attempts += result.attempts
    tally.replaced += len(history.of("replace"))
    tally.doubled += result.doubled_updates or 0
    begun = {event.attempt: event.time for event in history.of("leg_started")}
    tally.down += [begun[event.attempt] - event.time for event in history.of("restart") if event.attempt in begun]
