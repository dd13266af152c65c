"""Prices, and the cost of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.plan.cost import cost, dollars_per_hour
from orchestrator.plan.topology import training_plans
from orchestrator.spec.prices import check_prices, parse_prices
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit

PLANS = training_plans(RunSpec(job="digits", mode="async", workers=2, ps=1, cpus_per_task=4, gpus_per_worker=1))


def test_cpus_and_gpus_are_paid_by_the_hour() -> None:
    prices = parse_prices("cpu=0.05,gpu=2")
    assert dollars_per_hour(prices, PLANS) == pytest.approx(4 * 4 * 0.05 + 2 * 2)
    assert cost(prices, PLANS, 1800) == pytest.approx((0.8 + 4) / 2)


def test_an_instance_price_replaces_its_cpus_and_gpus() -> None:
    assert dollars_per_hour({"worker": 3.0, "cpu": 0.05}, PLANS) == pytest.approx(2 * 3 + 2 * 4 * 0.05)


def test_without_prices_the_cost_is_unknown() -> None:
    assert cost(None, PLANS, 100) is None
    assert cost({"cpu": 1.0}, PLANS, None) is None


def test_prices_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("cpu: 0.04\ngpu: 2.5\n")
    assert parse_prices(str(tmp_path / "prices.yaml")) == {"cpu": 0.04, "gpu": 2.5}


@pytest.mark.parametrize("text", ["disk=1", "cpu=free", "cpu=-1", "cpu=inf", "cpu=nan", "", "cpu"])
def test_a_wrong_price_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="price"):
        parse_prices(text)


def test_prices_are_checked_from_yaml_too() -> None:
    assert check_prices({"ps": 1}) == {"ps": 1.0}
