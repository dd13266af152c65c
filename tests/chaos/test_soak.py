"""A short soak: one run per mode under five random faults. The long one is `python -m tests.chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.soak import FAULTS_PER_RUN, soak
from tests.marked import slow


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_run_under_random_faults(mode: str) -> None:
    tally = soak(mode, seed=2026, seconds=0.1)
    assert tally.runs == 1
    assert tally.faults.total() >= FAULTS_PER_RUN - 1  # one may come when its task is down already
