"""Simulated results of runs and comparisons."""

from __future__ import annotations

from typing import Any

from orchestrator.results import (
    Comparison,
    FailureRecord,
    Finding,
    RunResult,
    Seconds,
    Stability,
    TargetResult,
    Throughput,
)
from orchestrator.verdict import assemble

STEADY = (0.98, 1.01, 1.0, 0.99, 1.02, 1.0, 1.01, 0.98, 1.0, 1.01)
WIGGLE = (0.001, -0.001, 0.0005, 0.0, -0.0005, 0.001, 0.0, -0.001, 0.0005, 0.0)


def a_run(mode: str, seed: int, seconds: float | None, accuracy: float = 0.97, **changes: Any) -> RunResult:
    """A run that reached the target after `seconds`, or missed it when null."""
    training = changes.pop("training", 300.0 if seconds is None else 1.2 * seconds)
    fields: dict[str, Any] = {
        "run_id": f"{mode}-{seed}",
        "job": "simulated",
        "mode": mode,
        "seed": seed,
        "status": "succeeded",
        "tasks": {"worker": 4},
        "samples": 10_000,
        "seconds": Seconds(training=training),
        "throughput": Throughput(samples_per_s=10_000 / training if training else None),
        "target": TargetResult(
            metric="val_accuracy",
            op=">=",
            value=0.95,
            reached=seconds is not None,
            seconds=seconds,
            samples=8000,
        ),
        "final": {"val_accuracy": accuracy, "val_loss": 1 - accuracy},
    }
    return RunResult(**{**fields, **changes})


def some_runs(mode: str, seconds: float, n: int = 5, accuracy: float = 0.97, **changes: Any) -> list[RunResult]:
    shift = sum(map(ord, mode))
    return [
        a_run(mode, s, seconds * STEADY[(s + shift) % 10], accuracy + WIGGLE[(s * 3 + shift) % 10], **changes)
        for s in range(n)
    ]


def a_comparison(**modes: list[RunResult]) -> Comparison:
    """The comparison of these runs; the first variant is the baseline."""
    results = [run.model_copy(update={"variant": name}) for name, runs in modes.items() for run in runs]
    return assemble("simulated", results, list(modes), job="digits", seeds=sorted({run.seed for run in results}))


def a_comparison_named(text: str) -> Comparison:
    """A comparison in which `text`, such as markup or control characters, stands wherever text can."""
    finding = Finding(kind=text, symptom=text, evidence=text, causes=(text,), remedies=(text,))
    failure = FailureRecord(task=text, kind="user", attempt=1, summary=text, log=text)
    bad = [
        a_run(text, seed, 3.0, job=text, stability=Stability(findings=(finding,)), failures=(failure,))
        for seed in range(3)
    ]
    made = a_comparison(sync=some_runs("sync", 10, 3), **{text: bad})
    return made.model_copy(update={"job": text, "comparison_id": text})
