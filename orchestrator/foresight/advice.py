"""`regatta advise`: the probe, the predictions from it, and what follows for the user."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from orchestrator.doctor import machine
from orchestrator.errors import SpecError, UsageError
from orchestrator.foresight.costs import Evidence, costs, evidence
from orchestrator.foresight.predict import Case, Learned, Prediction, Range, predict
from orchestrator.foresight.predictions import write_predictions
from orchestrator.foresight.probe import Probe, probe
from orchestrator.foresight.step_time import FORMULAS
from orchestrator.plan.cost import cost
from orchestrator.plan.topology import all_plans
from orchestrator.runs.watcher import Watcher
from orchestrator.spec.run import RunSpec
from orchestrator.text import plural
from workers.modes.registry import MODES, traits

MOST_WORKERS = 64
"""All of them on one machine."""
_NEARLY_BEST = 1.03
"""Fewer workers are recommended if they take at most this many times as long as the best."""
_MOST_MINUTES = 60.0
_SLOWEST = 10.0


def advise(
    spec: RunSpec, up_to: int, minutes: float, watcher: Watcher | None, *, fresh: bool = False
) -> dict[str, Any]:
    """Measure the resolved `spec`'s job briefly, and predict every mode with up to `up_to` workers on this machine.

    Returns the document that it also writes to the probe's folder.

    Raises:
        UsageError: an argument is out of range, the job cannot be measured, or its target is out of reach.
            Other errors as for `orchestrator.api.run`.
    """
    check(spec, up_to, minutes)
    found = probe(spec, minutes, watcher, fresh=fresh)
    seen = evidence(found.runs, float(machine.cores(machine.ROOT).usable), spec.seed)
    learned = _learned(spec, found)
    cases = _cases(spec, up_to)
    starts = _starts(found)
    predictions = predict(cases, seen, learned, starts, spec.seed)
    document = {
        "schema": 1,
        "job": spec.job,
        "params": dict(spec.params),
        "target": spec.target,
        "straggler": spec.straggler,
        "workers_up_to": up_to,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "probe": {"folder": str(found.path), "seconds": found.seconds, "reused": found.reused, **_facts(found, seen)},
        "predictions": [{**_row(spec, p), "start_seconds": starts.get(p.case.mode, 0.0)} for p in predictions],
        "recommendation": _recommend(spec, predictions),
        "tips": _tips(seen, predictions, spec.batch_size),
    }
    return write_predictions(found.path, document)


def check(spec: RunSpec, up_to: int, minutes: float) -> None:
    """Raises UsageError for what `advise` refuses before it starts anything."""
    if not 2 <= up_to <= MOST_WORKERS:
        raise SpecError("workers_up_to", f"{up_to} is out of range: 2 to {MOST_WORKERS}")
    if not 0.2 <= minutes <= _MOST_MINUTES:
        raise SpecError("minutes", f"{minutes:g} is out of range: 0.2 to {_MOST_MINUTES:g}")
    if spec.address is not None or spec.gpus_per_worker or spec.devices_per_replica > 1:
        raise UsageError(
            "advise measures on this machine's processors, and predicts for them: it has no model of a network "
            "or of GPUs yet. Leave out --address, --gpus-per-worker and models on several devices."
        )


def _cases(spec: RunSpec, up_to: int) -> list[Case]:
    """One process first; then it with the samples per update of several workers, and every other mode."""
    alone = next(mode for mode, row in MODES.items() if row.waits_for == "nothing")
    counts = [n for n in range(2, up_to + 1) if n <= 8 or n == up_to or n & (n - 1) == 0 or n in (12, 24, 48)]
    cases = [Case(alone, 1, spec.batch_size), *(Case(alone, 1, n * spec.batch_size) for n in counts)]
    for mode, row in MODES.items():
        if not row.alone:
            cases += [Case(mode, n, spec.batch_size) for n in (counts if row.lockstep else [1, *counts])]
    return cases


def _learned(spec: RunSpec, found: Probe) -> Learned | str:
    target = spec.parsed_target
    if target is None:
        return "the job has no target: give one with --target"
    curves = []
    for run in found.runs.values():
        points = [(float(p.samples), p.metrics[target.metric]) for p in run.curve if target.metric in p.metrics]
        if run.curve and not points:
            names = ", ".join(sorted(run.curve[-1].metrics))
            raise SpecError("target", f"the evaluations have no {target.metric}; they have: {names}")
        if points:
            curves.append((points, run.samples_per_update, run.staleness if run.workers > 1 and run.staleness else 0.0))
    most = max(run.steps * run.samples_per_update for run in found.runs.values())
    reached = any(target.met_by(value) for points, _, _ in curves for _, value in points)
    if not reached and spec.samples is not None and most >= spec.samples:
        rising = target.op in (">=", ">")
        best = (max if rising else min)((value for points, _, _ in curves for _, value in points), default=float("nan"))
        raise UsageError(
            f"target: {target} is out of reach: the probe trained {most:,} samples, the job has {spec.samples:,}, and "
            f"{target.metric} came to {best:.4g} at best. Choose another target, more --samples, another learning rate."
        )
    noise = next((run.noise for run in found.runs.values() if run.noise is not None), None)
    interval = float(spec.eval_every or max(1, (spec.samples or 0) // 20))
    return Learned(target, curves, noise, interval)


def _starts(found: Probe) -> dict[str, float]:
    """Seconds that runs of a mode lose at their start; the mean over its runs."""
    by_mode: dict[str, list[float]] = {}
    for run in found.runs.values():
        by_mode.setdefault(run.mode, []).append(run.start)
    return {mode: fmean(values) for mode, values in by_mode.items()}


def _facts(found: Probe, seen: Evidence) -> dict[str, Any]:
    """What the probe measured, by kind of run; milliseconds."""
    rows = {}
    for kind, run in found.runs.items():
        mean, spread = float(run.clock.mean()), float(run.clock.std(ddof=1)) / len(run.clock) ** 0.5
        own = [float(work.mean()) for work in run.work]
        rows[kind] = {
            "updates": run.steps,
            "update_ms": 1000 * mean,
            "update_ms_error": 1000 * spread,
            "step_ms_by_worker": [1000 * seconds for seconds in own],
            "exchange_ms": None if run.exchange is None or run.workers == 1 else 1000 * float(run.exchange.mean()),
            "input_wait_ms": None if run.input_wait is None else 1000 * run.input_wait,
            "processor_ms": None if run.cpu is None else 1000 * run.cpu,
            "staleness": run.staleness,
            "evaluations": len(run.curve),
        }
    noise = next((run.noise for run in found.runs.values() if run.noise is not None), None)
    return {"cores": seen.cores, "gradient_noise_scale": noise, "measured": rows}


def _price(spec: RunSpec, found: Prediction) -> float | None:
    """Dollars until the target is met."""
    run = spec.model_copy(update={"mode": found.case.mode, "workers": found.case.workers})
    return cost(spec.price, all_plans(run), found.seconds_to_target.value)


def _row(spec: RunSpec, found: Prediction) -> dict[str, Any]:
    case = found.case
    return {
        "mode": case.mode,
        "workers": case.workers,
        "samples_per_update": case.samples_per_update,
        "update_seconds": dataclasses.asdict(found.step_seconds),
        "samples_per_s": dataclasses.asdict(found.samples_per_s),
        "staleness": found.staleness,
        "samples_to_target": dataclasses.asdict(found.samples_to_target),
        "seconds_to_target": dataclasses.asdict(found.seconds_to_target),
        "gain": dataclasses.asdict(found.gain),
        "speedup": dataclasses.asdict(found.speedup),
        "cost": _price(spec, found),
        "saturates_at": found.saturates_at,
    }


def _recommend(spec: RunSpec, predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """The mode and number of workers with the largest gain, or one process; None if nothing distributed is predicted.

    Gains are in time to the target; in samples per second, which `by` says, where that is not predicted. A distributed
    mode has to be faster than one process with its whole interval; fewer workers win a near tie.
    """
    others = [p for p in predictions if not traits(p.case.mode).alone and p.case.workers > 1]
    by_target = any(p.gain.value is not None for p in others)

    def gain(found: Prediction) -> Range:
        return found.gain if by_target else found.speedup

    known = [(value, p) for p in others if (value := gain(p).value) is not None]
    if not known:
        return None
    most, best = max(known, key=lambda entry: entry[0])
    near = [(value, p) for value, p in known if value * _NEARLY_BEST >= most]
    fewest = min(near, key=lambda entry: (entry[1].case.workers, -entry[0]))[1]
    worth = (gain(fewest).low or 0.0) > 1
    chosen = fewest if worth else predictions[0]
    return {
        "by": "time to the target" if by_target else "samples per second",
        "distribute": worth,
        "mode": chosen.case.mode,
        "workers": chosen.case.workers,
        "samples_per_update": chosen.case.samples_per_update,
        "gain": dataclasses.asdict(gain(chosen)),
        "cost": _price(spec, chosen),
        "nearest": None if worth else {"mode": best.case.mode, "workers": best.case.workers, "gain": most},
        "learning_rate": "unchanged; samples to the target were measured so. --lr-scaling sqrt (Adam) or linear (SGD) "
        "may help updates of more samples.",
    }


def _tips(seen: Evidence, predictions: Sequence[Prediction], batch: int) -> list[str]:
    """Where the recommendation would change."""
    tips = []
    for mode in dict.fromkeys(p.case.mode for p in predictions):
        limit = next((p.saturates_at for p in predictions if p.case.mode == mode and p.saturates_at), None)
        if limit is not None:
            most = plural(max(1, round(limit)), "worker")
            tips.append(f"{mode}: with more than about {most} the cores, which all tasks share, are the limit")
    factor = _tipping_slowness(seen, batch)
    if factor is not None:
        tips.append(factor)
    return tips


def _tipping_slowness(seen: Evidence, batch: int) -> str | None:
    """From how slow a slowest host on modes that do not wait process more samples, with two workers."""
    rates: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for mode, row in MODES.items():
        own = costs(mode, seen, batch)
        if row.waits_for is not None and not row.alone and not isinstance(own, str):
            rates[row.lockstep][mode] = (own, FORMULAS[row.waits_for])
    if not rates[True] or not rates[False]:
        return None

    def best(lockstep: bool, slower: float) -> tuple[float, str]:
        where = seen.where(2, slower)
        return max((formula(own, where).batches_per_s, mode) for mode, (own, formula) in rates[lockstep].items())

    for slower in [1 + 0.1 * step for step in range(int((_SLOWEST - 1) * 10) + 1)]:
        (bound, waiting), (free, other) = best(True, slower), best(False, slower)
        if free > bound:
            when = "always" if slower == 1 else f"once one of two hosts is {slower:.1f} times slower than the other"
            return f"{other} processes more samples per second than {waiting} {when}"
    return f"{waiting} processes more samples per second than {other} even beside a host {_SLOWEST:g} times slower"
