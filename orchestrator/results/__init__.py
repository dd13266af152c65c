"""Results of a run and of a comparison, and their JSON. Field names are part of the contract (docs/contract.md)."""

from __future__ import annotations

from orchestrator.results.comparison import (
    DEFAULT_MARGIN,
    Answer,
    Comparison,
    Distributing,
    Interval,
    ModeResults,
    Summary,
    Tuning,
    Verdict,
)
from orchestrator.results.run import (
    SCHEMA_VERSION,
    FailureRecord,
    Finding,
    Frozen,
    GradientNoise,
    RunResult,
    Seconds,
    Stability,
    Staleness,
    Status,
    TargetResult,
    Throughput,
    Timing,
    Utilization,
    WorkerTime,
)

__all__ = [
    "DEFAULT_MARGIN",
    "SCHEMA_VERSION",
    "Answer",
    "Comparison",
    "Distributing",
    "FailureRecord",
    "Finding",
    "Frozen",
    "GradientNoise",
    "Interval",
    "ModeResults",
    "RunResult",
    "Seconds",
    "Stability",
    "Staleness",
    "Status",
    "Summary",
    "TargetResult",
    "Throughput",
    "Timing",
    "Tuning",
    "Utilization",
    "Verdict",
    "WorkerTime",
]
