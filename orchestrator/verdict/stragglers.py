"""Stragglers: workers much slower than the others of their run, and what they cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from orchestrator.results import RunResult, Timing
from orchestrator.verdict.evidence import Modes, is_positive
from workers.modes.registry import find

STRAGGLER = 1.5
"""Step time over the median above which a worker is a straggler."""


@dataclass(frozen=True)
class Straggler:
    """The slowest worker of one run."""

    task: str
    factor: float
    """Its mean step time over the median of all workers."""
    others_idle: float | None
    """Mean share of the training time in which the other workers computed nothing; null if not measured for all."""


def straggler_index(step_seconds: Mapping[str, float]) -> float | None:
    """Slowest worker's step time over the median of all; None with fewer than two workers that have one."""
    times = [time for time in step_seconds.values() if is_positive(time)]
    return max(times) / median(times) if len(times) > 1 else None


def straggler_reasons(modes: Modes) -> list[str]:
    """One sentence per variant that had the same straggler in most of its runs.

    `sync: worker:1 takes 3.9x the median step time (5 of 5 runs); the other workers idle 71 % of the time`
    """
    return [reason for name, runs in modes.items() if (reason := _reason(name, runs))]


def slowest(timing: Timing | None) -> Straggler | None:
    """The straggler of a run; None if no worker is one, or too little was measured."""
    if timing is None:
        return None
    times = {task: time for task, worker in timing.workers.items() if is_positive(time := worker.step_seconds)}
    factor = straggler_index(times)
    if factor is None or factor <= STRAGGLER:
        return None
    task = max(times, key=times.__getitem__)
    idle = [worker.idle for other, worker in timing.workers.items() if other in times and other != task]
    known = [share for share in idle if share is not None]
    return Straggler(task, factor, mean(known) if len(known) == len(idle) else None)


def _reason(name: str, runs: Sequence[RunResult]) -> str | None:
    found = [straggler for run in runs if (straggler := slowest(run.timing))]
    tasks = [straggler.task for straggler in found]
    task = max(tasks, key=tasks.count, default=None)
    same = [straggler for straggler in found if straggler.task == task]
    if task is None or 2 * len(same) <= len(runs):
        return None
    factor = math.exp(mean(math.log(straggler.factor) for straggler in same))
    counted = f"({len(same)} of {len(runs)} runs)"
    return f"{name}: {task} takes {factor:.1f}x the median step time {counted}{_cost(runs, same)}"


def _cost(runs: Sequence[RunResult], stragglers: Sequence[Straggler]) -> str:
    mode = find(runs[0].mode)
    idle = [straggler.others_idle for straggler in stragglers if straggler.others_idle is not None]
    if mode is not None and not mode.lockstep:
        return "; the other workers do not wait for it"
    return f"; the other workers idle {100 * mean(idle):.0f} % of the time" if mode is not None and idle else ""
