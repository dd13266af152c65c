"""The straggler trace of a run: draws.csv, which `--straggler trace:path=draws.csv` replays."""

from __future__ import annotations

from pathlib import Path

from orchestrator.spec.run import RunSpec
from orchestrator.store.metrics import Metrics
from workers.stragglers import Pace, Profile

TRACE = "draws.csv"


def write_trace(path: Path, spec: RunSpec) -> None:
    """Write the factor of every step and worker of the run in folder `path`, if its profile draws any.

    A line per step, a column per worker. Async workers take different numbers of steps, which the first line tells:
    a shorter column goes on with what would have come next.
    """
    profile = Profile.parse(spec.straggler)
    if not profile.sleeps:
        return
    taken = _steps_taken(path, spec)
    paces = [Pace(profile, spec.seed, worker) for worker in range(spec.workers)]
    used = ", ".join(f"worker:{worker} {steps}" for worker, steps in enumerate(taken))
    lines = [f"# {spec.straggler}, seed {spec.seed}: factors of a step's length, the first of them used: {used}"]
    lines += [",".join(repr(pace.factor()) for pace in paces) for _ in range(max(taken, default=0))]
    (path / TRACE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _steps_taken(path: Path, spec: RunSpec) -> list[int]:
    """By worker, in the longest of the run's attempts: each begins with the first draw."""
    metrics = Metrics(path)
    try:
        rows = metrics.rows("SELECT worker, COUNT(*) FROM steps GROUP BY worker, attempt")
    finally:
        metrics.close()
    taken = [0] * spec.workers
    for worker, steps in rows:
        together = range(spec.workers) if spec.traits.lockstep else (worker,)  # worker 0 is noted for all
        for one in together:
            taken[one] = max(taken[one], steps)
    return taken
