"""Recorded losses of ordinary runs, in which every finding about the loss is a false alarm, but for a few that move.

`ordinary_runs.npz` holds steps and losses, as they arrived, of 22 runs of `regatta compare digits --backend local` on
two busy cores (2026-11-29): sync and async, 11 seeds each, to the default target. `ordinary_runs_of_modes.npz` holds
two seeds each of `digits`, and with synthetic images of `mnist-cnn` (12,800 samples) and `fashion-mnist` (25,600), in
the nine modes of `--modes all` (2026-12-01).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.monitor.run_monitor import RunMonitor
from orchestrator.results import Finding
from orchestrator.spec.run import RunSpec
from tests.made import status
from tests.unit.monitor.watched_losses import Floats, falling, noisy
from workers.messages import Task
from workers.news import StepBatch

pytestmark = pytest.mark.unit

RECORDED = Path(__file__).parent / "ordinary_runs.npz"
OF_MODES = Path(__file__).parent / "ordinary_runs_of_modes.npz"
UNSTEADY = {
    "fashion-mnist async 0": ["divergence"],
    "fashion-mnist async 1": ["spike"] * 3,
    "fashion-mnist kasync:2 0": ["divergence"],
    "fashion-mnist switch:0.5 0": ["divergence"],
    "fashion-mnist switch:0.5 1": ["divergence"],
}
"""Runs in which the loss does what is said of it: it goes from 0.3 to 2.1 within ten updates, from 0.4 to 0.9 within
sixty, or jumps and comes back. In the last two async takes over from sync there, with which a run's own monitor begins
from the start.
"""


def told(steps: Floats, losses: Floats) -> list[Finding]:
    monitor = RunMonitor(RunSpec.make({"job": "digits"}), "r")
    batch = StepBatch("r", 0, steps.astype(np.int64), steps / 100, losses.astype(np.float64), None, 0.1)
    return [*monitor.observe([status(Task("worker", 0), batch)]), *monitor.finish()]


def test_ordinary_runs_give_no_alarm() -> None:
    with np.load(RECORDED) as runs:
        assert len(runs) == 22
        assert {name: kinds for name in runs if (kinds := [one.kind for one in told(*runs[name])])} == {}


def test_in_other_modes_only_those_are_told_whose_loss_moves() -> None:
    with np.load(OF_MODES) as runs:
        assert len(runs) == 3 * 9 * 2
        assert {name: kinds for name in runs if (kinds := [one.kind for one in told(*runs[name])])} == UNSTEADY


def test_spikes_are_told_from_the_third_on_and_the_first_two_with_it() -> None:
    at = np.arange(1.0, 3001.0)
    losses = noisy(falling())
    losses[[900, 1400]] *= 3
    assert told(at, losses) == []
    losses[[1900, 2400]] *= 3
    assert [(one.kind, one.step) for one in told(at, losses)] == [("spike", n) for n in (901, 1401, 1901, 2401)]
