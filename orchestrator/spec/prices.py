"""Prices of resources in dollars per hour; `orchestrator.plan.cost` computes what a run costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import SpecError

RESOURCES = ("cpu", "gpu")
TASK_TYPES = ("chief", "worker", "ps", "evaluator")


def parse_prices(text: str) -> dict[str, float]:
    """Prices from `cpu=0.04,gpu=2.5,worker=1.2`, or from the YAML file of that name.

    `cpu` and `gpu` are dollars per hour of one CPU or GPU. A task type is dollars per hour of a whole instance that
    runs one such task; it replaces the price of the task's CPUs and GPUs.
    """
    if text.endswith((".yaml", ".yml")):
        from orchestrator.spec.yaml import read_mapping

        values = read_mapping(Path(text))
    else:
        values = dict(part.partition("=")[::2] for part in text.split(",") if part.strip())
    return check_prices(values)


def check_prices(values: Mapping[str, object]) -> dict[str, float]:
    """`values` as validated prices.

    Raises:
        SpecError: a name is not a resource or task type, or a value is not a price.
    """
    prices = {}
    for key, value in values.items():
        name = str(key).strip()
        if name not in (*RESOURCES, *TASK_TYPES):
            allowed = ", ".join((*RESOURCES, *TASK_TYPES))
            raise SpecError("price", f"{name!r} is not allowed: prices are dollars per hour of {allowed}")
        try:
            prices[name] = float(str(value))
        except ValueError:
            raise SpecError("price", f"{name}={value!r} is not allowed: give a number of dollars per hour") from None
        if not 0 <= prices[name] < 1e6:
            raise SpecError("price", f"{name}={value} is not allowed: give a number from 0 to 1,000,000")
    if not prices:
        raise SpecError("price", "it is empty: write it as cpu=0.04,gpu=2.5")
    return prices
