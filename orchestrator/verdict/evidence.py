"""Evidence: each run's number on each question, the runs that missed, and the pairs of runs. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeGuard

from orchestrator.results import RunResult, TargetResult

Modes = Mapping[str, Sequence[RunResult]]
SAME_SAMPLES = 0.02
"""Sample counts within 2 % count as equal: the size of the last step may differ."""
UNSTABLE = frozenset({"nan", "divergence", "oscillation"})
"""Findings about the loss; a straggler or a slow input pipeline is not instability."""
UNSTABLE_SPIKES = 3
"""Number of spikes that makes a run unstable. A hard batch causes one, and healthy runs recover from it."""
_LOWER_IS_BETTER = re.compile(r"loss|error|ma?[pe]e|mse|msle|perplexity|entropy|divergence|poisson|hinge")
_SHARE = re.compile(r"acc|auc|precision|recall|sensitivity|specificity|f1|f_?beta|iou|dice|error_rate|kappa")


class Point(NamedTuple):
    """The value of one run on one question."""

    seed: int
    value: float
    bad: bool = False
    """Missed the target, or lost its final metric. Bad runs are counted, never dropped."""


@dataclass(frozen=True)
class Race:
    """What the time question measures; the same for all variants of a comparison."""

    kind: Literal["target", "samples", "rate"]
    """Reaching the target, training on the same number of samples, or processing one sample."""
    goal: str
    """The target as text."""
    horizon: float | None
    """Seconds (per sample, for `rate`) that a miss counts as: the longest that any run trained."""


@dataclass(frozen=True)
class Quality:
    """The final metric by which quality is judged."""

    metric: str
    higher_is_better: bool
    is_share: bool
    """Accuracy or similar, with an absolute margin in points. Other metrics have a relative margin."""


class Pairs(NamedTuple):
    """Values of a variant (`x`) and of the other (`y`), matched one to one if `paired`."""

    x: list[float]
    y: list[float]
    paired: bool
    left_out: int
    """Number of values without a partner, which are not used."""

    @property
    def n(self) -> int:
        return min(len(self.x), len(self.y))


def plan_race(modes: Modes) -> Race:
    """Time to the target if all runs share one; else seconds for equal samples; else samples/s."""
    runs = [run for group in modes.values() for run in group]
    targets = {goal_text(run.target) for run in runs if run.target is not None}
    if len(targets) == 1 and all(run.target or run.status != "succeeded" for run in runs):
        reached = [run.target.seconds for run in runs if run.target is not None]
        return Race("target", targets.pop(), longest([*reached, *(run.seconds.spent for run in runs)]))
    finished = [run for run in runs if run.status == "succeeded"]
    samples = [run.samples for run in finished]
    counted = [count for count in samples if count]
    equal = counted and len(counted) == len(samples) and min(counted) >= (1 - SAME_SAMPLES) * max(counted)
    if equal and all(is_positive(run.seconds.spent) for run in finished):
        return Race("samples", "the same samples", longest(run.seconds.spent for run in runs))
    return Race("rate", "samples/s", longest(map(_seconds_per_sample, finished)))


def horizon_seconds(modes: Modes, race: Race) -> float | None:
    """Seconds that a missed target counts as, also where the race is not for seconds."""
    if race.kind != "rate":
        return race.horizon
    return longest(run.seconds.spent for group in modes.values() for run in group)


def race_points(runs: Sequence[RunResult], race: Race) -> list[Point]:
    """Time of each run; a miss counts as the horizon. Runs without a measurement are absent."""
    points = []
    for run in runs:
        seconds = _race_seconds(run, race)
        if seconds is not None:
            points.append(Point(run.seed, seconds))
        elif not is_interrupted(run) and _missed(run, race) and race.horizon:
            points.append(Point(run.seed, race.horizon, bad=True))
    return points


def plan_quality(modes: Modes) -> Quality | None:
    """The target's metric, else validation accuracy, else validation loss, else any; None if there is no metric."""
    runs = [run for group in modes.values() for run in group]
    names = sorted({name for run in runs for name in run.final})
    targets = [run.target for run in runs if run.target is not None and run.target.metric in names]
    if not names:
        return None
    metric = targets[0].metric if targets else min(names, key=_preference)
    ops = {target.op for target in targets if target.metric == metric}
    higher = any(op.startswith(">") for op in ops) if ops else not _LOWER_IS_BETTER.search(metric.lower())
    return Quality(metric, higher, bool(_SHARE.search(metric.lower())))


def quality_points(runs: Sequence[RunResult], quality: Quality) -> list[Point]:
    """Final metric of each run. A failed or diverged run is bad; an interrupted or unmeasured one is absent."""
    points = []
    for run in runs:
        value = run.final.get(quality.metric)
        if is_lost(run) or (value is not None and not math.isfinite(value)):
            points.append(Point(run.seed, math.nan, bad=True))
        elif value is not None and not is_interrupted(run):
            points.append(Point(run.seed, value))
    return points


def cost_points(runs: Sequence[RunResult], race: Race) -> list[Point]:
    """Cost of each run, only up to the target if it reached one; empty unless every run has a cost."""
    points = []
    for run in runs:
        if is_interrupted(run):
            continue
        if run.cost is None or not is_positive(run.cost):
            return []
        seconds, spent = _race_seconds(run, race), run.seconds.spent
        reached = seconds is not None
        share = seconds / spent if race.kind == "target" and seconds and spent else 1.0
        points.append(Point(run.seed, run.cost * min(1.0, share), bad=not reached))
    return points


def pair(x: Iterable[Point], y: Iterable[Point]) -> Pairs:
    """Pairs by seed if seeds are unique and three or more (or all) are shared; otherwise both sides unpaired."""
    x, y = list(x), list(y)
    of_x, of_y = {p.seed: p.value for p in x}, {p.seed: p.value for p in y}
    shared = sorted(of_x.keys() & of_y.keys())
    unique = len(of_x) == len(x) and len(of_y) == len(y)
    if not (unique and (len(shared) >= 3 or of_x.keys() == of_y.keys())):
        return Pairs([p.value for p in x], [p.value for p in y], paired=False, left_out=0)
    left_out = len(x) + len(y) - 2 * len(shared)
    return Pairs([of_x[s] for s in shared], [of_y[s] for s in shared], paired=True, left_out=left_out)


def is_interrupted(run: RunResult) -> bool:
    """Whether the run was ended by the user, a preemption or `--timeout`, which says nothing about its variant.

    The timeout is the whole command's, so that the run which it cuts short is not at fault.
    """
    if run.status == "preempted":
        return True
    reason = (run.stop_reason or "").lower()
    return run.status == "stopped" and ("interrupt" in reason or reason == "timeout")


def is_lost(run: RunResult) -> bool:
    """Whether the run failed, or trained to a loss that is not finite."""
    losses = [value for name, value in run.final.items() if "loss" in name and value is not None]
    return run.status == "failed" or not all(map(math.isfinite, losses))


def is_troubled(run: RunResult) -> bool:
    """Whether the run was lost, or had a failure or an unstable loss, even if it recovered."""
    kinds = [finding.kind for finding in run.stability.findings]
    unstable = not UNSTABLE.isdisjoint(kinds) or kinds.count("spike") >= UNSTABLE_SPIKES
    return is_lost(run) or bool(run.failures) or unstable


def stopped_at_target(run: RunResult) -> bool:
    return run.target is not None and run.target.reached and "target" in (run.stop_reason or "").lower()


def ended_alike(modes: Modes) -> bool:
    """Whether all runs that succeeded ended for the same reason: if not, final metrics tell where they stopped."""
    return len({run.stop_reason for runs in modes.values() for run in runs if run.status == "succeeded"}) <= 1


def goal_text(target: TargetResult) -> str:
    return f"{target.metric} {target.op} {target.value:g}"


def _race_seconds(run: RunResult, race: Race) -> float | None:
    """Seconds of the run; None if it missed the goal or its time was not measured."""
    if race.kind == "target":
        reached = run.target is not None and run.target.reached
        seconds = None if run.target is None else run.target.seconds
    elif race.kind == "samples":
        reached, seconds = run.status == "succeeded", run.seconds.spent
    else:
        reached, seconds = run.status != "failed", _seconds_per_sample(run)
    return seconds if reached and seconds is not None and is_positive(seconds) else None


def _missed(run: RunResult, race: Race) -> bool:
    if race.kind == "target":
        return run.target is None or not run.target.reached
    return run.status == "failed" or (race.kind == "samples" and run.status != "succeeded")


def _seconds_per_sample(run: RunResult) -> float | None:
    rate = run.throughput.samples_per_s
    return 1 / rate if is_positive(rate) else None


def _preference(name: str) -> tuple[bool, bool, str]:
    return not name.startswith("val_"), not _SHARE.search(name), name


def longest(values: Iterable[float | None]) -> float | None:
    """The largest measured value; None if there is none."""
    return max((value for value in values if value is not None and is_positive(value)), default=None)


def is_positive(value: float | None) -> TypeGuard[float]:
    """Whether a value was measured: not null, finite and above 0."""
    return value is not None and math.isfinite(value) and value > 0
