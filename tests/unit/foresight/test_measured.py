"""What is read from a stored run: known timings, written by the real store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import UsageError
from orchestrator.foresight.measured import measured
from orchestrator.foresight.simulate import Question, simulate
from orchestrator.store.directory import RunStore
from tests.unit.simulated_runs import a_run
from workers.messages import Task
from workers.news import CallTiming, Evaluation, ReplicaState, ReplicaStatus, Stamp, StepBatch
from workers.stragglers import Pace, Profile

pytestmark = pytest.mark.unit

STEPS, CALL = 200, 5


def write(folder: Path, *, straggler: str = "none", busy: bool = True, steps: int = STEPS, late: float = 0.0) -> Path:
    """Two workers in lockstep: 10 ms of work (worker 1: 12 ms), 2 ms of exchange and 1 ms between calls, per step. The
    first call of worker 1 takes `late` seconds more."""
    store = RunStore(folder)
    store.write_spec(
        {"job": "digits", "mode": "sync", "workers": 2, "batch_size": 32, "straggler": straggler, "seed": 3}
    )
    store.event(1, "leg_started")
    profile = Profile.parse(straggler)
    sleeps = [
        [Pace(profile, 3, worker).seconds() for _ in range(1)] * steps if profile.sleeps else [0.0] * steps
        for worker in range(2)
    ]
    slept = np.max(sleeps, axis=0)
    ends = late + np.cumsum(0.012 + 0.002 + 0.001 + slept)
    for worker, work in enumerate((0.010, 0.012)):
        news: list[object] = []
        for last in range(CALL - 1, steps, CALL):
            own = sum(sleeps[worker][last - CALL + 1 : last + 1])
            begins = late if last < CALL else 0.0
            seconds = begins + CALL * 0.014 + float(slept[last - CALL + 1 : last + 1].sum())
            waited = seconds - own - CALL * work - begins * worker  # in the collective
            spent = seconds if busy else None
            news.append(CallTiming("r", worker, last + 1, CALL, float(ends[last]), seconds, spent, 0.0005, waited, 0.0))
        store.add(1, ReplicaStatus(Task("worker", worker), ReplicaState.TRAINING, tuple(news)))
    batch = StepBatch("r", 0, np.arange(1, steps + 1), ends, np.ones(steps), None, float(ends[-1]))
    scored = Evaluation(Stamp("r", 100, 6400, 1.5), {"val_accuracy": 0.8, "val_loss": float("nan")}, 0.01)
    store.add(1, ReplicaStatus(Task("worker", 0), ReplicaState.TRAINING, (batch, scored)))
    store.close()
    result = a_run("sync", 3, None, tasks={"worker": 2}, steps=steps, samples_per_update=64)
    store.write_result(result)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


def test_the_parts_of_a_step(folder: Path) -> None:
    found = measured(write(folder))
    assert found.clock.mean() == pytest.approx(0.015)
    assert [work.mean() for work in found.work] == pytest.approx([0.010, 0.012])
    assert found.exchange is not None
    assert found.exchange.mean() == pytest.approx(0.002)
    assert found.gap == pytest.approx(0.001)
    assert [own.mean() for own in found.own] == pytest.approx([0.011, 0.013])
    assert found.input_wait == pytest.approx(0.0001)
    assert found.cpu is None  # no host was sampled
    assert found.staleness is None
    assert [(p.samples, p.metrics) for p in found.curve] == [(6400, {"val_accuracy": 0.8})]


def test_sleeps_are_taken_out_of_the_work(folder: Path) -> None:
    found = measured(write(folder, straggler="persistent:worker=1,factor=2,step=0.03"))
    assert [work.mean() for work in found.work] == pytest.approx([0.010, 0.012])
    assert found.sleep == pytest.approx(0.045)
    assert found.clock.mean() == pytest.approx(0.075)


@pytest.mark.parametrize("straggler", ["none", "persistent:worker=1,factor=2,step=0.03"])
def test_a_late_start_is_that_of_the_slowest_worker_without_its_wait(folder: Path, straggler: str) -> None:
    assert measured(write(folder, late=0.2, straggler=straggler)).start == pytest.approx(0.2, abs=0.02)


def test_a_simulation_from_a_run_takes_as_long_as_the_run(folder: Path) -> None:
    asked = Question(modes=("sync",), workers=(2,), source=write(folder, late=0.2), steps=STEPS)
    found = simulate(asked)
    assert found["rows"][0]["seconds"] + found["start_seconds"] == pytest.approx(0.2 + STEPS * 0.015, rel=0.02)


def test_a_run_without_a_monitor_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="too few step times"):
        measured(write(folder, busy=False))


def test_a_run_of_a_few_steps_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="too few step times"):
        measured(write(folder, steps=15))


def test_a_damaged_run_is_refused(folder: Path) -> None:
    write(folder)
    (folder / "metrics.db").write_bytes(b"no database")
    with pytest.raises(UsageError, match=r"metrics\.db"):
        measured(folder)
