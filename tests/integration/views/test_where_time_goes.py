"""Per-worker timings of real training: a slow input and a slow worker are seen, measured, and told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.recorded_runs import Launched, rows
from tests.marked import slow

BATCH, STEPS = 32, 125


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_that_waits_for_its_data(mode: str, tmp_path: Path) -> None:
    """20 ms a batch, beside which the step is nothing: the steps wait for nearly all of 2.5 s.

    Shorter waits hide behind the steps of a busy machine, because the data of the next step is fetched meanwhile.
    """
    workers = 2
    samples = STEPS * BATCH * workers
    with Launched(job="hungry.py", mode=mode, workers=workers, batch_size=BATCH, samples=samples) as group:
        result = group.run(tmp_path)
    assert [finding.kind for finding in result.stability.findings if finding.kind == "input_bound"] == ["input_bound"]
    assert result.timing is not None
    for task in ("worker:0", "worker:1"):
        worker = result.timing.workers[task]
        assert worker.input_wait is not None
        assert worker.idle is not None
        # Sync: what one worker waits for its data, the other waits for it, and most of that shows as communication.
        assert (0.05 if mode == "sync" else 0.3) < worker.input_wait < 1
        assert worker.input_wait <= worker.idle + 0.05
    # The wait is that of the dataset: 20 ms a batch, less what the step hides of it, and in sync the other's wait.
    waits = rows(tmp_path, "SELECT SUM(input_wait) / SUM(steps) FROM timings GROUP BY worker")
    assert len(waits) == workers
    assert (sum if mode == "sync" else min)(wait for (wait,) in waits) > 0.008
    assert max(wait for (wait,) in waits) < 0.08


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_worker_that_the_others_wait_for(mode: str, tmp_path: Path) -> None:
    workers, steps = 3, 150
    samples = steps * BATCH * workers
    profile = "persistent:worker=2,factor=4,step=0.02"
    with Launched(
        job="exact.py", mode=mode, workers=workers, batch_size=BATCH, samples=samples, straggler=profile
    ) as group:
        result = group.run(tmp_path)
    assert result.timing is not None
    assert result.timing.straggler_index is not None
    assert result.timing.straggler_index > 1.5
    (found,) = (finding for finding in result.stability.findings if finding.kind == "straggler")
    assert "worker:2" in found.symptom
    times = {task: worker.step_seconds or 0 for task, worker in result.timing.workers.items() if task[0] == "w"}
    assert max(times, key=lambda task: times[task]) == "worker:2"
    assert times["worker:2"] >= 0.02
    if mode == "sync":
        communication = {task: worker.communication or 0 for task, worker in result.timing.workers.items()}
        idle = {task: worker.idle or 0 for task, worker in result.timing.workers.items()}
        assert min(communication, key=lambda task: communication[task]) == "worker:2", "the others wait for it there"
        assert idle["worker:0"] > idle["worker:2"] + 0.3


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_unwatched_runs_measure_nothing(mode: str, tmp_path: Path) -> None:
    with Launched(job="exact.py", mode=mode, batch_size=BATCH, samples=200 * BATCH, monitor=False) as group:
        result = group.run(tmp_path)
    assert result.status == "succeeded"
    assert result.timing is None
    assert result.utilization.cpu_percent == {}
    assert result.stability.findings == ()
    assert (
        rows(tmp_path, "SELECT COUNT(*) FROM timings") == rows(tmp_path, "SELECT COUNT(*) FROM host_samples") == [(0,)]
    )
    assert not (tmp_path / "tensorboard").exists()
    assert rows(tmp_path, "SELECT COUNT(*) > 0 FROM steps") == [(1,)]
