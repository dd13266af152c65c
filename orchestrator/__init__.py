"""Regatta's driver: plans runs, launches worker groups on Ray, watches them, and compares what they did.

The Python API; the command line is a thin layer over it:

    from orchestrator import RunSpec, compare, plan, run

    result = run(RunSpec(job="digits", mode="async", workers=2))
    comparison = compare(CompareSpec(run=RunSpec(job="my_job.py:MyJob"), seeds=(0, 1, 2)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import compare, plan, run
    from orchestrator.results import Comparison, RunResult
    from orchestrator.spec.comparison import CompareSpec
    from orchestrator.spec.run import RunSpec

__all__ = ["CompareSpec", "Comparison", "RunResult", "RunSpec", "compare", "plan", "run"]

_HOMES = {
    "run": "orchestrator.api",
    "compare": "orchestrator.api",
    "plan": "orchestrator.api",
    "RunSpec": "orchestrator.spec.run",
    "CompareSpec": "orchestrator.spec.comparison",
    "RunResult": "orchestrator.results",
    "Comparison": "orchestrator.results",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `regatta --help` must not pay for pydantic models it does not need."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
