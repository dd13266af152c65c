"""The cost of a run: prices per hour times the resources that its tasks reserve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.plan.topology import TaskPlan

SECONDS_PER_HOUR = 3600.0


def dollars_per_hour(prices: Mapping[str, float], plans: Sequence[TaskPlan]) -> float:
    """Cost of all tasks per hour. A resource without a price is free."""
    return sum(
        prices[plan.task.type]
        if plan.task.type in prices
        else plan.cpus * prices.get("cpu", 0.0) + plan.gpus * prices.get("gpu", 0.0)
        for plan in plans
    )


def cost(prices: Mapping[str, float] | None, plans: Sequence[TaskPlan], seconds: float | None) -> float | None:
    """Dollars for `seconds` of training; None without prices or without training."""
    if not prices or seconds is None:
        return None
    return dollars_per_hour(prices, plans) * seconds / SECONDS_PER_HOUR
