"""What one stored run measured of its steps: the times that a prediction or a simulation starts from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.foresight.steps import StepTimes
from orchestrator.report.stored import UNREADABLE, StoredRun, load_run, unreadable
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.text import is_number
from workers.modes.registry import traits
from workers.stragglers import Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

WARM_UP = 0.25
"""Share of a run's timings that are left out at its start: caches are cold, and calls of fused steps still grow."""
_FEWEST_UPDATES = 16
_CHUNKS = 40
"""Most pieces of equal numbers of steps that the wall-clock time of a step is taken from."""


class TooFewTimesError(UsageError):
    """A run is too short to be measured."""


@dataclass(frozen=True)
class Point:
    """One evaluation of the learning curve."""

    samples: int
    clock: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """Times in seconds, from after the warm-up. An array has one value per piece of the run."""

    mode: str
    straggler: str
    workers: int
    batch_size: int
    samples_per_update: int
    steps: int
    clock: FloatArray
    """Wall-clock seconds per counted step."""
    work: tuple[FloatArray, ...]
    """Seconds that each worker spent on a step, without its sleep and its collectives."""
    exchange: FloatArray | None
    """Seconds per step in collectives, of the worker that spent least there, the last to come; None if not measured."""
    gap: float
    """Mean seconds between two calls of a worker, per step."""
    sleep: float
    """Mean seconds that workers slept per step, in the same pieces."""
    input_wait: float | None
    """Mean seconds per step without a batch; None if not measured."""
    cpu: float | None
    """Processor seconds of all training tasks together per step of a single worker; None if not measured."""
    staleness: float | None
    estimates_noise: bool
    """Whether its steps also estimated the gradient noise scale, which takes time."""
    noise: float | None
    """Gradient noise scale in samples; None if not measured."""
    curve: tuple[Point, ...]
    start: float
    """Seconds by which the run was behind its later pace after the warm-up, or, if its workers sleep, after their first
    call."""
    trip: float = 0.0
    """Mean seconds per step of calls in which the worker itself did not work: the way to the chief and back."""

    @property
    def own(self) -> tuple[FloatArray, ...]:
        """Seconds of each worker's steps without sleeps and collectives: its work, the way to the chief, and the gaps
        between its calls unless it waits for others there."""
        waits = traits(self.mode).waits_for in ("quorum", "bound")
        return tuple(sample + self.trip + (0.0 if waits else self.gap) for sample in self.work)


def measured(path: Path) -> Measured:
    """What the run in folder `path` measured.

    Raises:
        UsageError: it is not a run's folder, is damaged, or has too few timings (a run with `--no-monitor` has none).
    """
    try:
        return _read(load_run(path), path)
    except sqlite3.Error as error:
        raise UsageError(f"{path / METRICS} cannot be read: {error}") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def has_enough(path: Path) -> bool:
    """Whether the run in folder `path` holds enough step times to be measured; raises UsageError as `measured` does."""
    try:
        measured(path)
    except TooFewTimesError:
        return False
    return True


def _read(run: StoredRun, path: Path) -> Measured:
    import numpy as np

    result = run.result
    try:
        row = traits(result.mode)
    except KeyError:
        raise UsageError(f"{path} was trained in mode {result.mode}, which this version does not have.") from None
    if row.stages:
        raise UsageError(
            f"{path} was trained in {' and '.join(row.stages)}: its steps are of two kinds. Give another run."
        )
    metrics = Metrics(path)
    try:
        attempt = metrics.column("SELECT MAX(attempt) FROM steps")[0]
        taken = metrics.rows("SELECT step, clock FROM steps WHERE attempt = ? ORDER BY clock", attempt)
        timings = metrics.rows(
            "SELECT worker, steps, clock, seconds, busy, input_wait, communication FROM timings WHERE attempt = ? "
            "ORDER BY worker, clock",
            attempt,
        )
        scores = metrics.rows("SELECT samples, clock, metrics FROM evaluations ORDER BY samples")
        cpu = _cpu_percent(metrics)
    finally:
        metrics.close()
    workers = int(run.spec.get("workers", result.tasks.get("worker", 1)))
    profile = Profile.parse(str(run.spec.get("straggler", "none")))
    times = StepTimes([], profile, int(run.spec.get("seed", 0)), workers)
    found = [_worker([t for t in timings if t[0] == worker], times, worker) for worker in range(workers)]
    known = [pieces for pieces in found if pieces is not None]
    if len(known) < workers or len(taken) < _FEWEST_UPDATES:
        raise TooFewTimesError(
            f"{path} holds too few step times: train it for a few seconds longer, and with the monitor (--monitor)."
        )
    clock, start = _wall_clock([float(c) for _, c in taken])
    if profile.sleeps:
        start = max(pieces.late for pieces in known)
    exchanges = [pieces.exchange for pieces in known if pieces.exchange is not None]
    calls = min(map(len, exchanges), default=0)
    least = np.min([exchange[-calls:] for exchange in exchanges], axis=0) if len(exchanges) == len(known) else None
    batches_per_s = (workers if row.lockstep else 1) / float(clock.mean())
    noise = result.stability.gradient_noise
    waits = [pieces.input_wait for pieces in known]
    return Measured(
        mode=result.mode,
        straggler=str(run.spec.get("straggler", "none")),
        workers=workers,
        batch_size=int(run.spec.get("batch_size", 0)),
        samples_per_update=result.samples_per_update or int(run.spec.get("batch_size", 0)),
        steps=result.steps or len(taken),
        clock=clock,
        work=tuple(pieces.work for pieces in known),
        exchange=least,
        gap=float(np.mean([pieces.gap for pieces in known])),
        sleep=float(np.mean([pieces.sleep for pieces in known])),
        input_wait=None if None in waits else float(np.mean([w for w in waits if w is not None])),
        cpu=None if cpu is None else cpu / 100 / batches_per_s,
        staleness=result.staleness.mean if result.staleness else None,
        estimates_noise=bool(run.spec.get("gradient_noise")),
        noise=noise.batch if noise else None,
        curve=tuple(_points(scores)),
        start=start,
        trip=float(np.mean([pieces.trip for pieces in known])),
    )


@dataclass(frozen=True)
class _Pieces:
    work: FloatArray
    exchange: FloatArray | None
    gap: float
    trip: float
    sleep: float
    input_wait: float | None
    late: float
    """Seconds of the first call beyond its sleep, its collectives and what its steps took later."""


def _worker(rows: Sequence[tuple[Any, ...]], times: StepTimes, worker: int) -> _Pieces | None:
    """The timings of one worker, from after the warm-up; None if there are too few."""
    import numpy as np

    first = max(1, int(len(rows) * WARM_UP))
    if len(rows) - first < 3 or any(row[4] is None for row in rows):
        return None
    steps = np.array([row[1] for row in rows])
    clock, seconds, busy = (np.array([row[column] for row in rows], np.float64) for column in (2, 3, 4))
    ends = np.cumsum(steps)
    slept = np.add.reduceat(times.sleeps(worker, int(ends[-1])), np.concatenate([[0], ends[:-1]]))
    exchange = np.array([0.0 if row[6] is None else row[6] for row in rows])
    awake = seconds - exchange - slept
    waited = [row[5] for row in rows[first:]]
    later, total = slice(first, None), float(steps[first:].sum())
    return _Pieces(
        work=np.maximum(0.0, (busy - exchange - slept) / steps)[later],
        exchange=None if any(row[6] is None for row in rows) else (exchange / steps)[later],
        gap=max(0.0, float((np.diff(clock)[first - 1 :] - seconds[later]).sum()) / total),
        trip=max(0.0, float((seconds - busy)[later].sum()) / total),
        sleep=float(slept[later].sum()) / total,
        input_wait=None if None in waited else float(sum(waited)) / total,
        late=max(0.0, float(awake[0] - steps[0] * np.median((awake / steps)[later]))),
    )


def _wall_clock(ends: Sequence[float]) -> tuple[FloatArray, float]:
    """Seconds per step in pieces after the warm-up; and by how much the warm-up was behind that pace."""
    import numpy as np

    first = int(len(ends) * WARM_UP)
    marks = np.linspace(first, len(ends) - 1, min(_CHUNKS, len(ends) - 1 - first) + 1).astype(int)
    clock = np.asarray(ends)[marks]
    pace = np.diff(clock) / np.diff(marks)
    return pace, max(0.0, float(clock[0] - (first + 1) * (clock[-1] - clock[0]) / (marks[-1] - marks[0])))


def _cpu_percent(metrics: Metrics) -> float | None:
    """Mean processor use of all tasks but the evaluator in the last leg, after its warm-up; 100 is one core."""
    rows = metrics.rows(
        "WITH leg AS (SELECT (SELECT MAX(time) FROM events WHERE kind = 'leg_started') AS begun, "
        "(SELECT MAX(time) FROM events WHERE kind = 'leg_finished') AS ended) "
        "SELECT task, AVG(cpu_percent) FROM host_samples, leg WHERE task NOT LIKE 'evaluator%' "
        "AND time BETWEEN begun + ? * (ended - begun) AND ended GROUP BY task",
        WARM_UP,
    )
    values = [cpu for _, cpu in rows]
    return None if not values or any(cpu is None for cpu in values) else float(sum(values))


def _points(scores: Sequence[tuple[Any, ...]]) -> list[Point]:
    points = []
    for samples, clock, text in scores:
        scored = {name: float(value) for name, value in json.loads(text).items() if is_number(value)}
        points.append(Point(int(samples), float(clock), scored))
    return points
