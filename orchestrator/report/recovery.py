"""The result of a run whose driver died before it wrote one, from what metrics.db had taken in by then."""

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
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.summaries import staleness, utilization
from orchestrator.text import is_number

REASON = "interrupted: there is no result, because the driver ended before this run did, or is still at it"
"""An interrupted run says nothing about its mode, so the verdict leaves it out (docs/verdict.md)."""


def recover(path: Path, spec: Mapping[str, Any], plan: Mapping[str, Any]) -> RunResult:
    """A result with status `stopped`, holding what can be known.

    Raises:
        UsageError: there is no spec, or no metrics.db that can be read.
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
    finally:
        metrics.close()
    budget = plan.get("budget")
    per_step = budget.get("samples_per_step") if isinstance(budget, Mapping) else None
    samples = round(steps * per_step) if steps and is_number(per_step) else None
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
        stop_reason=REASON,
        tasks=kinds,
        steps=steps,
        samples=samples,
        seconds=Seconds(training=clock),
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


def evaluated(text: object) -> dict[str, float]:
    """The numbers of one stored evaluation."""
    try:
        read = json.loads(str(text))
    except ValueError:
        return {}
    numbers = read.items() if isinstance(read, dict) else ()
    return {str(name): float(value) for name, value in numbers if is_number(value)}
