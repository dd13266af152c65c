"""Recovers the result of a run whose driver died before it wrote result.json, from its metrics.db."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.metric_target import MetricTarget
from orchestrator.results import RunResult, Seconds, TargetResult, Throughput
from orchestrator.store.locks import is_driven
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.summaries import first_learning_rate, samples_per_epoch, staleness, utilization
from orchestrator.text import is_number

REASON = "interrupted: there is no result.json, because the driver died or runs on another host"
"""The verdict leaves interrupted runs out (docs/verdict.md)."""
UNDER_WAY = "interrupted: its driver is still training it"


def recover(path: Path, spec: Mapping[str, Any], plan: Mapping[str, Any]) -> RunResult:
    """The result with status `stopped`, as far as it can be known.

    Raises:
        UsageError: there is no spec, or metrics.db cannot be read.
    """
    if not isinstance(spec.get("job"), str):
        raise UsageError(f"{path} holds neither a result.json nor a readable spec.yaml: it is not a run's folder.")
    try:
        return _recover(path, spec, plan)
    except sqlite3.Error as error:
        raise UsageError(f"{path / METRICS} cannot be read: {error}") from None


def _recover(path: Path, spec: Mapping[str, Any], plan: Mapping[str, Any]) -> RunResult:
    metrics = Metrics(path)
    try:
        steps, clock = metrics.rows("SELECT MAX(step), MAX(clock) FROM steps")[0]
        evaluations = metrics.rows("SELECT step, samples, clock, metrics FROM evaluations ORDER BY clock")
        attempts = metrics.column("SELECT MAX(attempt) FROM events")[0]
        legs = metrics.column("SELECT detail FROM events WHERE kind = 'leg_started' ORDER BY rowid DESC LIMIT 1")
    finally:
        metrics.close()
    per_step = samples_per_step(plan)
    samples = _samples(steps, legs[0] if legs else None, per_step) if steps else None
    final = evaluated(evaluations[-1][3]) if evaluations else {}
    tasks = plan.get("tasks")
    kinds = Counter(str(task.get("type")) for task in tasks) if isinstance(tasks, list) else {}
    rates = (steps / clock, samples / clock if samples else None) if steps and clock else (None, None)
    return RunResult(
        run_id=str(spec.get("run_id") or path.name),
        job=spec["job"],
        mode=str(spec.get("mode", "?")),
        variant=str(spec.get("variant") or spec.get("mode", "?")),
        seed=spec["seed"] if isinstance(spec.get("seed"), int) else 0,
        status="stopped",
        stop_reason=UNDER_WAY if is_driven(path) else REASON,
        tasks=kinds,
        steps=steps,
        samples=samples,
        samples_per_update=round(per_step) if per_step else None,
        samples_per_epoch=samples_per_epoch(path),
        learning_rate=first_learning_rate(path),
        seconds=Seconds(elapsed=clock),
        throughput=Throughput(steps_per_s=rates[0], samples_per_s=rates[1]),
        target=_target(spec.get("target"), evaluations),
        final=final,
        staleness=staleness(path),
        utilization=utilization(path),
        attempts=attempts or 1,
    )


def _target(text: object, evaluations: list[tuple[Any, ...]]) -> TargetResult | None:
    if not isinstance(text, str):
        return None
    try:
        target = MetricTarget.parse(text)
    except ValueError:
        return None
    wanted: dict[str, Any] = {"metric": target.metric, "op": target.op, "value": target.value}
    for step, samples, clock, metrics in evaluations:
        value = evaluated(metrics).get(target.metric)
        if value is not None and target.met_by(value):
            return TargetResult(**wanted, reached=True, seconds=clock, steps=step, samples=samples)
    return TargetResult(**wanted, reached=False)


def _samples(steps: int, leg: object, per_step: float | None) -> int | None:
    """Samples after `steps`: by the start of the last leg as it was stored, or else the same for every step."""
    try:
        begun = json.loads(str(leg))
        return int(begun["samples_before"] + (steps - begun["steps_before"]) * begun["global_batch"])
    except (ValueError, TypeError, KeyError):
        return round(steps * per_step) if per_step else None


def samples_per_step(plan: Mapping[str, Any]) -> float | None:
    """Training samples that each step consumes, according to plan.json; None if it does not say."""
    planned = plan.get("budget")
    value = planned.get("samples_per_step") if isinstance(planned, Mapping) else None
    return float(value) if is_number(value) and value > 0 else None


def evaluated(text: object) -> dict[str, float]:
    """Metrics of one stored evaluation that are numbers."""
    try:
        stored = json.loads(str(text))
    except ValueError:
        return {}
    metrics = stored.items() if isinstance(stored, dict) else ()
    return {str(name): float(value) for name, value in metrics if is_number(value)}
