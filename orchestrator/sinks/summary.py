"""Figures of a finished run, under the names that MLflow and Weights & Biases show them by."""

from __future__ import annotations

from orchestrator.results import RunResult


def summary(result: RunResult) -> dict[str, float]:
    """What was measured of a run; what was not is left out."""
    found: dict[str, float | None] = {
        "seconds/elapsed": result.seconds.elapsed,
        "seconds/training": result.seconds.training,
        "seconds/to_first_step": result.seconds.to_first_step,
        "seconds/to_target": result.target.seconds if result.target else None,
        "throughput/samples_per_s": result.throughput.samples_per_s,
        "staleness/mean": result.staleness.mean if result.staleness else None,
        "stability/findings": float(len(result.stability.findings)),
        "stability/jitter": result.stability.jitter,
        "cost": result.cost,
        **{f"final/{name}": value for name, value in result.final.items()},
        **{f"cpu_percent/{task.replace(':', '_')}": value for task, value in result.utilization.cpu_percent.items()},
    }
    return {name: value for name, value in found.items() if value is not None}
