"""Measurements of a run over time, averaged to the resolution of a chart. SQLite averages, as runs may be long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, NamedTuple

from orchestrator.report.recovery import evaluated
from orchestrator.report.stored import StoredRun
from orchestrator.report.stretches import stretch_of

Axis = Literal["seconds", "samples", "updates", "epochs"]
_BEFORE = 1.0
"""Seconds shown before training begins. A launch of a minute would squeeze training to the edge."""
_GPU_KEY = "task || ' ' || COALESCE(name, 'GPU') || COALESCE(' ' || SUBSTR(uuid, 1, 12), '')"


class Curve(NamedTuple):
    """Values of one run; `x` is ascending."""

    x: list[float]
    y: list[float]


NO_CURVE = Curve([], [])


def axes(runs: Iterable[StoredRun]) -> tuple[Axis, ...]:
    """What all `runs` can be drawn against: epochs only if each knows how many samples an epoch has."""
    counted = all(run.samples_per_step and run.result.samples_per_epoch for run in runs)
    return ("seconds", "samples", "updates", *(("epochs",) if counted else ()))


def extent(run: StoredRun, axis: Axis) -> float:
    """Position of the last step on the axis; 0 without steps."""
    column = "clock" if axis == "seconds" else "step"
    rows = run.rows(f"SELECT MAX({column}), MAX(attempt) FROM steps")  # noqa: S608 - our own name
    if not rows or not rows[0][0]:
        return 0.0
    offset, scale = _line(run, axis, rows[0][1])
    return offset + float(rows[0][0]) * scale if scale else 0.0


def loss_curve(run: StoredRun, axis: Axis, width: float) -> Curve:
    """Training loss, averaged over bins of `width`; bins without a step are absent.

    A step whose loss was not finite is stored as null, and left out. Steps that a later attempt repeated count once,
    with the loss of the later attempt.
    """
    column = "clock" if axis == "seconds" else "step"
    lines = []
    for attempt, before in _kept(run):
        offset, scale = _line(run, axis, attempt)
        bin_width = float(f"{width / scale:.9g}") if scale else 0  # the same for samples, updates and epochs
        if bin_width <= 0:
            return Curve([], [])
        rows = run.rows(
            f"SELECT AVG({column}), AVG(loss) FROM steps WHERE loss IS NOT NULL AND attempt = ? "  # noqa: S608
            f"AND step < ? GROUP BY CAST({column} / ? AS INT) ORDER BY 1",
            attempt,
            before,
            bin_width,
        )
        lines += [(offset + x * scale, y) for x, y in rows]
    return _rising(lines)


def rate_curve(run: StoredRun, width: float) -> Curve:
    """Samples per second against seconds of the run's clock, from one bin of `width` seconds to the next."""
    if width <= 0:
        return NO_CURVE
    points = []
    for attempt, before in _kept(run):
        per_step = stretch_of(run, attempt).per_step
        if not per_step:
            return NO_CURVE
        ends = run.rows(
            "SELECT MAX(clock), MAX(step) FROM steps WHERE attempt = ? AND step < ? "
            "GROUP BY CAST(clock / ? AS INT) ORDER BY 1",
            attempt,
            before,
            width,
        )
        # From step to step: a bin holds a step more or less than its neighbour.
        points += [
            ((c0 + c1) / 2, (s1 - s0) * per_step / (c1 - c0)) for (c0, s0), (c1, s1) in pairwise(ends) if c1 > c0
        ]
    return _rising(points)


def learning_rate_curve(run: StoredRun) -> Curve:
    """The learning rate of each reported call, against seconds of the run's clock."""
    rate = "json_extract(logs, '$.learning_rate')"
    return _rising(run.rows(f"SELECT clock, {rate} FROM calls WHERE {rate} IS NOT NULL ORDER BY attempt, last_step"))  # noqa: S608 - our own words


def metric_curves(run: StoredRun, axis: Axis) -> dict[str, Curve]:
    """Curves of all evaluation metrics, by name."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    rows = run.rows("SELECT step, samples, clock, metrics FROM evaluations ORDER BY attempt, step")
    epoch = run.result.samples_per_epoch
    for step, samples, clock, metrics in rows:
        epochs = samples / epoch if epoch and samples is not None else None
        x = {"seconds": clock, "samples": samples, "updates": step, "epochs": epochs}[axis]
        for name, value in evaluated(metrics).items():
            if x is not None:
                points[name].append((float(x), value))
    return {name: _rising(sorted(values)) for name, values in points.items()}


def staleness_shares(runs: list[StoredRun]) -> dict[int, float]:
    """Share of updates by staleness, over all updates of these runs; empty if none was measured."""
    counts: dict[int, int] = defaultdict(int)
    query = "SELECT CAST(ROUND(staleness) AS INT), COUNT(*) FROM steps WHERE staleness IS NOT NULL GROUP BY 1"
    for run in runs:
        for value, count in run.rows(query):
            counts[value] += count
    total = sum(counts.values())
    return {value: counts[value] / total for value in sorted(counts)}


def staleness_curve(run: StoredRun, width: float) -> Curve:
    """Mean staleness of the updates in bins of `width` seconds of the run's clock; empty if it was not measured."""
    if width <= 0:
        return NO_CURVE
    means = (
        "SELECT AVG(clock), AVG(staleness) FROM steps WHERE staleness IS NOT NULL AND attempt = ? AND step < ? "
        "GROUP BY CAST(clock / ? AS INT) ORDER BY 1"
    )
    return _rising([row for attempt, before in _kept(run) for row in run.rows(means, attempt, before, width)])


class Usage(NamedTuple):
    """Timelines of the tasks of a run; x is seconds since training began."""

    cpu_percent: dict[str, Curve]
    memory_gib: dict[str, Curve]
    network_mib_per_s: dict[str, Curve]
    gpu_percent: dict[str, Curve]
    notes: list[str]


def usage(run: StoredRun, points: int) -> Usage:
    """Host and GPU samples by task during training, averaged to at most `points` per line."""
    began = _training_began(run)
    span = run.rows("SELECT MIN(time), MAX(time) FROM host_samples")
    if not span or span[0][0] is None:
        return Usage({}, {}, {}, {}, _notes(run))
    first, last = span[0]
    zero = first if began is None else began
    start = max(first, zero - _BEFORE) if last >= zero else first
    window = _Window(zero, start, max((last - start) / points, 1e-3))
    columns = "AVG(cpu_percent), AVG(rss_bytes) / 1073741824.0, AVG(net_sent_per_s + net_received_per_s) / 1048576.0"
    cpu, memory, network = _timelines(run, "host_samples", "task", columns, window)
    gpus = _timelines(run, "gpu_samples", _GPU_KEY, "AVG(utilization_percent)", window)
    return Usage(cpu, memory, network, gpus[0], _notes(run))


def gpu_names(run: StoredRun) -> list[str]:
    return [str(row[0]) for row in run.rows("SELECT DISTINCT name FROM gpu_samples WHERE name IS NOT NULL")]


class _Window(NamedTuple):
    """Origin and start of a time axis in seconds since the epoch, and the width of a bin."""

    zero: float
    start: float
    width: float


def _timelines(run: StoredRun, table: str, key: str, columns: str, window: _Window) -> list[dict[str, Curve]]:
    """Curves by task for each column; a curve without measurements is absent."""
    count = columns.count("AVG")
    lines: list[dict[str, list[tuple[float, float]]]] = [defaultdict(list) for _ in range(count)]
    rows = run.rows(
        f"SELECT {key}, AVG(time) - ?, {columns} FROM {table} WHERE time >= ? "  # noqa: S608 - our own names
        "GROUP BY 1, CAST((time - ?) / ? AS INT) ORDER BY 1, 2",
        window.zero,
        window.start,
        window.start,
        window.width,
    )
    for task, x, *values in rows:
        for line, value in zip(lines, values, strict=True):
            if value is not None:
                line[str(task)].append((x, value))
    return [{task: _rising(values) for task, values in line.items()} for line in lines]


def _training_began(run: StoredRun) -> float | None:
    rows = run.rows("SELECT MIN(time) FROM events WHERE kind = 'leg_started'")
    return float(rows[0][0]) if rows and rows[0][0] is not None else None


def _notes(run: StoredRun) -> list[str]:
    """The sampler's notes on what it could not measure, if they are in most samples of a task."""
    query = (
        "SELECT DISTINCT value FROM host_samples h, json_each(h.notes) GROUP BY task, value HAVING COUNT(*) * 2 > "
        "(SELECT COUNT(*) FROM host_samples t WHERE t.task = h.task) ORDER BY 1 LIMIT 20"
    )
    return [str(row[0]) for row in run.rows(query)]


def _kept(run: StoredRun) -> list[tuple[int, float]]:
    """Attempts, each with the step from which a later attempt repeated its steps."""
    begun = run.rows("SELECT attempt, MIN(step) FROM steps GROUP BY attempt ORDER BY attempt")
    return [
        (attempt, min((step for _, step in begun[i + 1 :]), default=float("inf")))
        for i, (attempt, _) in enumerate(begun)
    ]


def _line(run: StoredRun, axis: Axis, attempt: int) -> tuple[float, float]:
    """Offset and factor from the stored column to the axis, in one attempt.

    The factor is 0 if the samples of a step, or of an epoch, are not known.
    """
    if axis in ("seconds", "updates"):
        return 0.0, 1.0
    stretch = stretch_of(run, attempt)
    unit = 1.0 if axis == "samples" else float(run.result.samples_per_epoch or 0.0)
    return (stretch.samples_at(0) / unit, stretch.per_step / unit) if unit else (0.0, 0.0)


def _rising(points: list[tuple[float, float]]) -> Curve:
    """A curve of the points whose x is above the previous one, as interpolation needs."""
    kept: list[tuple[float, float]] = []
    for x, y in points:
        if not kept or x > kept[-1][0]:
            kept.append((float(x), float(y)))
    return Curve([x for x, _ in kept], [y for _, y in kept])
