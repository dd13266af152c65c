"""Describes the end of a run in one line."""

from __future__ import annotations

from orchestrator.results import RunResult


def outcome(result: RunResult) -> str:
    """Describe how a run ended, in one line."""
    parts: list[str] = [result.status if result.status != "succeeded" else "done"]
    target = result.target
    if target is not None and target.reached and target.seconds is not None:
        parts.append(f"reached {target.metric}{target.op}{target.value:g} in {target.seconds:.2f} s")
    elif target is not None and result.status == "succeeded":
        parts.append(f"did not reach {target.metric}{target.op}{target.value:g}")
    if result.status != "succeeded" and result.stop_reason not in (None, "", result.status):
        parts.append(result.stop_reason)
    if result.steps is not None and result.seconds.spent is not None:
        parts.append(f"{result.steps:,} steps in {result.seconds.spent:.2f} s")
    return ", ".join(parts)
