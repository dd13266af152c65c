"""`regatta advise`: the probe, the predictions from it, and what follows for the user."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from orchestrator.doctor import machine
from orchestrator.errors import SpecError, UsageError
from orchestrator.foresight.costs import Evidence, evidence
from orchestrator.foresight.predict import predict
from orchestrator.foresight.prediction import Case, Learned, Learning, Prediction, apart
from orchestrator.foresight.predictions import write_predictions
from orchestrator.foresight.probe import Probe, code_and_machine, probe
from orchestrator.foresight.recommendation import price, recommend, tips
from orchestrator.report import HTML
from orchestrator.report.advice import page
from orchestrator.runs.watcher import Watcher
from orchestrator.spec.run import RunSpec
from workers.files import write_atomically
from workers.modes.registry import MODES, batches_per_update, examples, fewest_workers, traits, values_of

MOST_WORKERS = 64
"""All of them on one machine."""
_MOST_MINUTES = 60.0


def advise(
    spec: RunSpec,
    up_to: int,
    minutes: float,
    watcher: Watcher | None,
    *,
    modes: Sequence[str] | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Measure the resolved `spec`'s job briefly, and predict `modes` with up to `up_to` workers on this machine.

    By default `modes` are all that can be predicted, with the number that `regatta modes` shows. One process is always
    measured, because gains are over it.

    Returns the document that it also writes to the probe's folder.

    Raises:
        UsageError: an argument is out of range, the job cannot be measured, or its target is out of reach.
            Other errors as for `orchestrator.api.run`.
    """
    chosen = check(spec, up_to, minutes, modes)
    found = probe(spec, chosen, minutes, watcher, fresh=fresh)
    seen = evidence(found.runs, float(machine.cores(machine.ROOT).usable), spec.seed, spec.samples)
    learned = _learned(spec, found)
    cases = _cases(spec, chosen, up_to)
    predictions = predict(cases, seen, learned, spec.seed)
    document = {
        "schema": 1,
        "job": spec.job,
        "params": dict(spec.params),
        "target": spec.target,
        "straggler": spec.straggler,
        "workers_up_to": up_to,
        "page": str(found.path / HTML),
        "made_by": code_and_machine(spec),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "probe": {"folder": str(found.path), "seconds": found.seconds, "reused": found.reused, **_facts(found, seen)},
        "predictions": [
            {**_row(spec, p), "start_seconds": seen.start(p.case.mode, p.case.workers)} for p in predictions
        ],
        "recommendation": recommend(spec, predictions),
        "tips": tips(seen, predictions, spec.batch_size),
    }
    written = write_predictions(found.path, document)
    write_atomically(found.path / HTML, page(written))
    return written


def check(spec: RunSpec, up_to: int, minutes: float, modes: Sequence[str] | None = None) -> tuple[str, ...]:
    """The modes to predict, one process first.

    Raises:
        UsageError: what `advise` refuses before it starts anything.
    """
    if not 2 <= up_to <= MOST_WORKERS:
        raise SpecError("workers_up_to", f"{up_to} is out of range: 2 to {MOST_WORKERS}")
    if not 0.2 <= minutes <= _MOST_MINUTES:
        raise SpecError("minutes", f"{minutes:g} is out of range: 0.2 to {_MOST_MINUTES:g}")
    if spec.address is not None or spec.gpus_per_worker or spec.devices_per_replica > 1:
        raise UsageError(
            "advise measures on this machine's processors, and predicts for them: it has no model of a network "
            "or of GPUs yet. Leave out --address, --gpus-per-worker and models on several devices."
        )
    return _predictable(modes, up_to)


def _predictable(modes: Sequence[str] | None, up_to: int) -> tuple[str, ...]:
    alone = next(mode for mode, row in MODES.items() if row.alone)
    if modes is None:
        return (alone, *(mode for mode in examples() if traits(mode).waits_for and mode != alone))
    for mode in modes:
        try:
            values_of(mode)
        except ValueError as error:
            raise SpecError("modes", f"{mode!r} is not allowed: {error}") from None
        if traits(mode).waits_for is None:
            raise SpecError("modes", f"{mode} cannot be predicted: there is no model of its steps")
        if fewest_workers(mode) > up_to:
            raise SpecError("modes", f"{mode} needs {fewest_workers(mode)} workers, and --workers-up-to is {up_to}")
    return (alone, *dict.fromkeys(mode for mode in modes if mode != alone))


def _cases(spec: RunSpec, modes: Sequence[str], up_to: int) -> list[Case]:
    """One process first; then it with the samples per update of several workers, and every other mode."""
    alone, *others = modes
    counts = [n for n in range(2, up_to + 1) if n <= 8 or n == up_to or n & (n - 1) == 0 or n in (12, 24, 48)]
    cases = [Case(alone, 1, spec.batch_size), *(Case(alone, 1, n * spec.batch_size) for n in counts)]
    for mode in others:
        fewest = 2 if traits(mode).lockstep else fewest_workers(mode)
        cases += [Case(mode, n, spec.batch_size) for n in (1, *counts) if n >= fewest]
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
            size = run.batch_size * batches_per_update(run.mode, run.workers)
            stale = run.staleness if run.workers > 1 and run.staleness else 0.0
            curves.append(Learning(run.mode, points, size, apart(run.mode, run.workers, stale)))
    most = max(run.steps * run.samples_per_update for run in found.runs.values())
    reached = any(target.met_by(value) for curve in curves for _, value in curve.points)
    if not reached and spec.samples is not None and most >= spec.samples:
        rising = target.op in (">=", ">")
        values = (value for curve in curves for _, value in curve.points)
        best = (max if rising else min)(values, default=float("nan"))
        raise UsageError(
            f"target: {target} is out of reach: the probe trained {most:,} samples, the job has {spec.samples:,}, and "
            f"{target.metric} came to {best:.4g} at best. Choose another target, more --samples, another learning rate."
        )
    noise = next((run.noise for run in found.runs.values() if run.noise is not None), None)
    interval = float(spec.eval_every or max(1, (spec.samples or 0) // 20))
    return Learned(target, curves, noise, interval)


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
        "cost": price(spec, found),
        "saturates_at": found.saturates_at,
    }
