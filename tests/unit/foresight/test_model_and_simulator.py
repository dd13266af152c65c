"""The model against the simulator, within stated tolerances. Not marked as unit tests: they simulate for seconds."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.foresight.simulator import SIMULATORS
from orchestrator.foresight.step_time import FORMULAS, Costs, Where
from orchestrator.foresight.steps import StepTimes
from workers.modes.traits import Waits
from workers.stragglers import Profile

PROFILES = (
    "none",
    "persistent:worker=1,factor=1",
    "persistent:worker=1,factor=4",
    "transient:p=0.05,factor=10",
    "lognormal:sigma=0.5",
)


def both(waits: Waits, profile: str, workers: int, exchange: float, number: int = 0) -> tuple[float, float]:
    """Batches per second: predicted, and simulated over 1,000 steps of each worker."""
    work = np.random.default_rng(1).gamma(20, 0.005 / 20, 500)
    parsed = Profile.parse(profile)
    # The formula counts an exchange between two workers, the simulator what an exchange takes among all.
    among_all = exchange * (workers - 1) if waits in ("workers", "rounds") else exchange
    predicted = FORMULAS[waits](
        Costs(work, exchange=exchange), Where(workers, 10_000, parsed, number=number)
    ).batches_per_s
    simulated = SIMULATORS[waits](StepTimes([work], parsed, 0, workers), 1000, among_all, number)
    return predicted, simulated.batches / simulated.seconds


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("profile", PROFILES)
def test_steps_together_agree_with_the_simulator_to_3_percent(profile: str, workers: int) -> None:
    predicted, simulated = both("workers", profile, workers, 0.0005)
    assert predicted == pytest.approx(simulated, rel=0.03)


@pytest.mark.parametrize("workers", [2, 4, 8, 32])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("waits", "number"), [("rounds", 4), ("rounds", 48), ("quorum", 1), ("bound", 0), ("bound", 3), ("bound", 12)]
)
def test_modes_in_between_agree_with_the_simulator_to_3_percent(
    waits: Waits, number: int, profile: str, workers: int
) -> None:
    predicted, simulated = both(waits, profile, workers, 0.00005 if waits == "rounds" else 0.0, number)
    assert predicted == pytest.approx(simulated, rel=0.03)


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_queue_far_from_its_limit_agrees_with_the_simulator_to_3_percent(profile: str, workers: int) -> None:
    predicted, simulated = both("servers", profile, workers, 0.00005)
    assert predicted == pytest.approx(simulated, rel=0.03)


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_queue_near_its_limit_is_underestimated_by_at_most_25_percent(profile: str, workers: int) -> None:
    """Its service takes constant time, and the formula assumes an exponential one, which queues more."""
    predicted, simulated = both("servers", profile, workers, 0.002)
    assert 0.75 * simulated <= predicted <= 1.02 * simulated


def test_one_process_agrees_with_the_simulator() -> None:
    predicted, simulated = both("nothing", "transient:p=0.05,factor=10", 1, 0.0)
    assert predicted == pytest.approx(simulated, rel=0.05)
