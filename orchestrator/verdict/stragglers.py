"""Which worker is slow, and what it costs the others: one sentence per variant. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from orchestrator.results import RunResult, Timing
from orchestrator.verdict.evidence import Modes

STRAGGLER = 1.5
"""As for the finding while a run is on (`orchestrator.monitor.speed`)."""


@dataclass(frozen=True)
class Straggler:
    """The slowest worker of one run."""

    task: str
    factor: float
    """Its mean step time over the median of all workers."""
    others_idle: float | None
    """Mean share of the training time in which the other workers computed nothing; null where it was not seen."""


def straggler_reasons(modes: Modes) -> list[str]:
    """`sync: worker:1 takes 3.9x the median step time (5 of 5 runs); the others idle 71 % of the time`."""
    return [reason for name, runs in modes.items() if (reason := _reason(name, runs))]


def slowest(timing: Timing | None) -> Straggler | None:
    """Null when no worker is slower than `STRAGGLER` times the median, or too little was measured."""
    if timing is None:
        return None
    times = {task: w.step_seconds for task, w in timing.workers.items() if w.step_seconds}
    if len(times) < 2:
        return None
    task = max(times, key=times.__getitem__)
    factor = times[task] / median(times.values())
    if factor <= STRAGGLER:
        return None
    idle = [w.idle for other, w in timing.workers.items() if other in times and other != task]
    seen = [share for share in idle if share is not None]
    return Straggler(task, factor, mean(seen) if len(seen) == len(idle) else None)


def _reason(name: str, runs: Sequence[RunResult]) -> str | None:
    found = [straggler for run in runs if (straggler := slowest(run.timing))]
    tasks = [straggler.task for straggler in found]
    task = max(tasks, key=tasks.count, default=None)
    mine = [straggler for straggler in found if straggler.task == task]
    if task is None or 2 * len(mine) <= len(runs):
        return None
    factor = math.exp(mean(math.log(straggler.factor) for straggler in mine))
    idle = [straggler.others_idle for straggler in mine if straggler.others_idle is not None]
    cost = ""
    if idle and runs[0].mode == "sync":
        cost = f"; the other workers idle {100 * mean(idle):.0f} % of the time"
    elif runs[0].mode == "async":
        cost = "; the other workers go on without it"
    return f"{name}: {task} takes {factor:.1f}x the median step time ({len(mine)} of {len(runs)} runs){cost}"
