"""What a run costs: prices per hour times what its tasks hold. No price, no cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.plan.topology import TaskPlan

SECONDS_PER_HOUR = 3600.0


def dollars_per_hour(prices: Mapping[str, float], plans: Sequence[TaskPlan]) -> float:
    """What all tasks of a run cost in an hour. A resource without a price is free."""
    return sum(
        prices[plan.task.type]
        if plan.task.type in prices
        else plan.cpus * prices.get("cpu", 0.0) + plan.gpus * prices.get("gpu", 0.0)
        for plan in plans
    )


def cost(prices: Mapping[str, float] | None, plans: Sequence[TaskPlan], seconds: float | None) -> float | None:
    """Dollars for `seconds` of training; null without prices, or when nothing was trained."""
    if not prices or seconds is None:
        return None
    return dollars_per_hour(prices, plans) * seconds / SECONDS_PER_HOUR
