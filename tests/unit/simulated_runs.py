"""Results of runs that nobody trained, for tests of what is made of results."""

from __future__ import annotations

from typing import Any

from orchestrator.results import RunResult, Seconds, TargetResult, Throughput

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
