"""Writes the straggler trace of a run, draws.csv, which `--straggler trace:path=draws.csv` replays."""

from __future__ import annotations

from pathlib import Path

from orchestrator.spec.run import RunSpec
from orchestrator.store.metrics import Metrics
from workers.files import write_atomically
from workers.stragglers import Pace, Profile

TRACE = "draws.csv"


def write_trace(path: Path, spec: RunSpec) -> None:
    """Write the factors by which the run's steps were slowed down, if its profile draws any.

    The file has a line per step and a column per worker. Asynchronous workers take different numbers of steps, which
    the first line contains; shorter columns are filled with the factors that would have followed.
    """
    profile = Profile.parse(spec.straggler)
    if not profile.sleeps:
        return
    taken = _steps_taken(path, spec)
    paces = [Pace(profile, spec.seed, worker) for worker in range(spec.workers)]
    used = ", ".join(f"worker:{worker} {steps}" for worker, steps in enumerate(taken))
    lines = [f"# {spec.straggler}, seed {spec.seed}: factors of a step's length, the first of them used: {used}"]
    lines += [",".join(repr(pace.factor()) for pace in paces) for _ in range(max(taken, default=0))]
    write_atomically(path / TRACE, "\n".join(lines) + "\n")


def _steps_taken(path: Path, spec: RunSpec) -> list[int]:
    """Steps of each worker in its longest attempt; every attempt starts with the first draw.

    Steps without a staleness were taken together, and recorded for worker 0 only.
    """
    metrics = Metrics(path)
    try:
        rows = metrics.rows("SELECT worker, COUNT(staleness), COUNT(*) FROM steps GROUP BY worker, attempt")
    finally:
        metrics.close()
    taken = [0] * spec.workers
    for worker, stale, steps in rows:
        stepping = (worker,) if stale else range(spec.workers)
        for index in stepping:
            taken[index] = max(taken[index], steps)
    return taken
