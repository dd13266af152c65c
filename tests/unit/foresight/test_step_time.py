"""The parts of the model of step times and samples against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.foresight.barrier import all_reduce_growth, makespan
from orchestrator.foresight.queueing import Station, Workers, rates, saturation
from orchestrator.foresight.samples import Reached, fit
from orchestrator.foresight.simulator import SIMULATORS
from orchestrator.foresight.step_time import FORMULAS, Costs, Where
from workers.modes.registry import MODES
from workers.stragglers import Profile

pytestmark = pytest.mark.unit


def test_cores_that_are_shared_limit_every_mode() -> None:
    costs = Costs(np.full(10, 0.01), cpu=0.008)
    for waits in ("workers", "servers"):
        few, many = (FORMULAS[waits](costs, Where(n, 2, Profile.parse("none"))) for n in (1, 16))
        assert few.batches_per_s == pytest.approx(1 / 0.01)
        assert many.batches_per_s < 2 / 0.008
        assert many.batches_per_s > 0.8 * 2 / 0.008


def test_a_slow_host_delays_those_who_wait_for_it_only() -> None:
    costs, none = Costs(np.full(10, 0.01)), Profile.parse("none")
    for waits, expected in (("workers", 4 / 0.03), ("servers", 3 / 0.01 + 1 / 0.03)):
        assert FORMULAS[waits](costs, Where(4, 8, none, slower=3)).batches_per_s == pytest.approx(expected)


def test_staleness_is_a_worker_less_than_there_are() -> None:
    costs = Costs(np.full(10, 0.01), exchange=0.0001)
    assert FORMULAS["servers"](costs, Where(5, 8, Profile.parse("none"))).staleness == pytest.approx(4)


def test_mean_value_analysis_of_a_textbook_network() -> None:
    """Two stations, three customers, worked out by hand: R1 = 5, 7.4, ...; Lazowska et al. (1984), chapter 6."""
    stations = [Station(3.0), Station(2.0)]
    assert rates([Workers(1, 0.0)], stations).updates == pytest.approx(1 / 5)
    # One customer: Q = (0.6, 0.4). Two: R = (3 * 1.6, 2 * 1.4) = (4.8, 2.8), X = 2 / 7.6.
    assert rates([Workers(2, 0.0)], stations).updates == pytest.approx(2 / 7.6)
    # Two: Q = 2 / 7.6 * R. Three: R = (3 * (1 + 9.6 / 7.6), 2 * (1 + 5.6 / 7.6)).
    third = 3 * (1 + 9.6 / 7.6) + 2 * (1 + 5.6 / 7.6)
    assert rates([Workers(3, 0.0)], stations).updates == pytest.approx(3 / third)


def test_equal_classes_are_one_class() -> None:
    split = rates([Workers(3, 5.0), Workers(2, 5.0)], [Station(1.0)])
    assert split.updates == pytest.approx(rates([Workers(5, 5.0)], [Station(1.0)]).updates)


def test_the_queue_at_a_server_of_exponential_speed() -> None:
    """The machine-repair model, whose rate is known in closed form."""
    count, think, demand = 6, 10.0, 1.5
    ratio = demand / think
    weights = np.array([np.prod(np.arange(count, count - k, -1)) * ratio**k for k in range(count + 1)])
    busy = 1 - weights[0] / weights.sum()
    assert rates([Workers(count, think)], [Station(demand)]).updates == pytest.approx(busy / demand)


def test_more_populations_than_can_be_visited_are_refused() -> None:
    with pytest.raises(ValueError, match="populations"):
        rates([Workers(1000, 1.0), Workers(1000, 2.0)], [Station(1.0)])


def test_saturation() -> None:
    assert saturation(0.009, 0.001) == pytest.approx(10)
    assert saturation(1.0, 0.0) == float("inf")


def test_cores_are_shared() -> None:
    delays, work = np.zeros((1, 4)), np.full((1, 4), 0.01)
    assert makespan(delays, work, 4)[0] == pytest.approx(0.01)
    assert makespan(delays, work, 2)[0] == pytest.approx(0.02)
    staggered = np.array([[0.0, 0.01, 0.02, 0.03]])
    assert makespan(staggered, work, 1)[0] == pytest.approx(0.04)


def test_a_ring_passes_its_bytes_twice() -> None:
    latency, size, bandwidth = 1e-3, 1e6, 1e9

    def seconds(n: int) -> float:
        return 2 * (n - 1) * latency + 2 * (n - 1) / n * size / bandwidth

    share = size / bandwidth / seconds(2)
    assert all_reduce_growth(1) == 0
    assert all_reduce_growth(2, share) == pytest.approx(1)
    assert all_reduce_growth(5, share) == pytest.approx(seconds(5) / seconds(2))


def test_every_way_of_waiting_has_a_formula_and_a_simulator() -> None:
    ways = {row.waits_for for row in MODES.values()} - {None}
    assert ways <= set(FORMULAS)
    assert ways <= set(SIMULATORS)


def test_samples_grow_with_the_batch_as_the_noise_scale_says() -> None:
    runs = [Reached(1000 * (1 + batch / 200), batch) for batch in (50, 100)]
    stale = Reached(1000 * (1 + 50 / 200) * (1 + 0.1 * 3), 50, 3.0)
    fitted = fit([*runs, stale], 999)  # a measured scale gives way to the runs' own
    assert fitted is not None
    assert fitted.at(400) == pytest.approx(3000)
    assert fitted.at(50, 5.0) == pytest.approx(1250 * 1.5)


def test_what_was_not_measured_is_not_predicted() -> None:
    assert fit([], 200) is None
    assert fit([Reached(1000, 50, 2.0)], 200) is None
    alone = fit([Reached(1000, 50)], None)
    assert alone is not None
    assert alone.at(50) == pytest.approx(1000)
    assert alone.at(100) is None
    assert alone.at(50, 1.0) is None


def test_a_measured_noise_scale_serves_where_all_runs_had_one_batch_size() -> None:
    fitted = fit([Reached(1250, 50)], 200)
    assert fitted is not None
    assert fitted.at(400) == pytest.approx(3000)


@pytest.mark.parametrize(("ratio", "at_four_times"), [(0.9, 1.0), (2.5, 4.0)])
def test_a_ratio_that_no_noise_scale_explains_is_taken_to_the_nearest_that_one_does(
    ratio: float, at_four_times: float
) -> None:
    fitted = fit([Reached(1000, 50), Reached(1000 * ratio, 100)], None)
    assert fitted is not None
    grown = (fitted.at(200) or 0) / (fitted.at(50) or 1)
    assert grown == pytest.approx(at_four_times, rel=0.02)


def test_luck_is_no_negative_penalty() -> None:
    fitted = fit([Reached(1000, 50), Reached(900, 50, 2.0)], None)
    assert fitted is not None
    assert fitted.penalties == {"": 0}
