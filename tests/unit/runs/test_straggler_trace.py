"""draws.csv contains the straggler trace of a run, and can be replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.runs.straggler_trace import TRACE, write_trace
from orchestrator.spec.run import RunSpec
from tests.made import status
from tests.sleeps import sleeps
from tests.unit.run_being_written import W0, Writing
from workers.news import StepBatch

pytestmark = pytest.mark.unit

PROFILE = "lognormal:sigma=0.3,step=0.01"


def spec(**fields: object) -> RunSpec:
    return RunSpec.make({"job": "digits", "straggler": PROFILE, "seed": 3, **fields})


def test_the_file_contains_the_factors_and_can_be_replayed(tmp_path: Path) -> None:
    writing = Writing(tmp_path).begins()
    writing.trains(steps=7).committed()
    write_trace(tmp_path, spec())
    first = (tmp_path / TRACE).read_text().splitlines()[0]
    assert first == f"# {PROFILE}, seed 3: factors of a step's length, the first of them used: worker:0 7, worker:1 7"
    written = np.loadtxt(tmp_path / TRACE, delimiter=",", ndmin=2)
    np.testing.assert_array_equal(written * 0.01, sleeps(PROFILE, 3, 2, 7))
    replayed = sleeps(f"trace:path={tmp_path / TRACE},step=0.01", 99, 2, 7)
    np.testing.assert_array_equal(replayed, sleeps(PROFILE, 3, 2, 7))


def test_steps_taken_together_and_alone_are_told_apart(tmp_path: Path) -> None:
    """Sync, and then async: each attempt begins with the first draw."""
    writing = Writing(tmp_path).begins().trains(steps=7)
    numbers = np.arange(8, 20)
    for worker, steps in ((0, numbers[:3]), (1, numbers[3:])):
        clock, own = np.full(len(steps), 2.0), np.zeros(len(steps))
        batch = StepBatch("r", worker, steps, clock, own, own, 0.1, {"loss": 0.5})
        writing.store.add(2, status(W0, batch))
    writing.committed()
    write_trace(tmp_path, spec(mode="switch:0.5"))
    assert "worker:0 7, worker:1 9" in (tmp_path / TRACE).read_text()


def test_without_stragglers_there_is_no_file(tmp_path: Path) -> None:
    Writing(tmp_path).begins().committed()
    write_trace(tmp_path, spec(straggler="none"))
    assert not (tmp_path / TRACE).exists()
