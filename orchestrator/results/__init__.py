"""Results of a run and of a comparison, and their JSON. Field names are part of the contract (docs/contract.md)."""

from __future__ import annotations

from orchestrator.results.comparison import (
    DEFAULT_MARGIN,
    Answer,
    Comparison,
    Distributing,
    Interval,
    Judged,
    ModeResults,
    Summary,
    Tuning,
    Verdict,
)
from orchestrator.results.measurements import (
    Frozen,
    GradientNoise,
    Parts,
    Seconds,
    Staleness,
    Throughput,
    Timing,
    Utilization,
    WorkerTime,
)
from orchestrator.results.run import (
    SCHEMA_VERSION,
    EarlierFit,
    FailureRecord,
    Finding,
    RunResult,
    Stability,
    Status,
    TargetResult,
)
from orchestrator.results.sweep import Sweep, Trial

__all__ = [
    "DEFAULT_MARGIN",
    "SCHEMA_VERSION",
    "Answer",
    "Comparison",
    "Distributing",
    "EarlierFit",
    "FailureRecord",
    "Finding",
    "Frozen",
    "GradientNoise",
    "Interval",
    "Judged",
    "ModeResults",
    "Parts",
    "RunResult",
    "Seconds",
    "Stability",
    "Staleness",
    "Status",
    "Summary",
    "Sweep",
    "TargetResult",
    "Throughput",
    "Timing",
    "Trial",
    "Tuning",
    "Utilization",
    "Verdict",
    "WorkerTime",
]
