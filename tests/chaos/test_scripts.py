"""A script that is killed and preempted, resumed, ends at its target, and goes on after `fit`."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
from pathlib import Path

from orchestrator.control.coordinator import Tick
from orchestrator.report import show
from orchestrator.runs.execution import NullWatcher
from tests.integration.faults.test_resume_after_a_death import steps_in
from tests.integration.recorded_runs import Launched, rows
from tests.integration.scripts.test_unchanged_scripts import SCRIPTS, printed

EPOCH = 128
"""Steps of an epoch of long.py."""


class Faults(NullWatcher):
    """Kills worker 1 in the second epoch, and tells worker 0 to end in the fifth."""

    def __init__(self, launched: Launched) -> None:
        self._launched = launched
        self._left = [("worker:1", signal.SIGKILL, 1.5 * EPOCH), ("worker:0", signal.SIGTERM, 4.5 * EPOCH)]

    def training(self, tick: Tick) -> None:
        if self._left and steps_in(tick) > self._left[0][2]:
            task, number, _ = self._left.pop(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._launched.pid(task), number)


def test_a_script_survives_a_kill_and_a_preemption_and_ends_at_its_target(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    fields = {
        "job": "long.py",
        "directory": str(SCRIPTS),
        "params": {"fit": 1},
        "mode": "sync",
        "workers": 2,
        "global_batch_size": 32,
        "steps_per_call": 4,
        "epochs": 24,
        "checkpoint_every": EPOCH * 32 // 2,
        "files_apart": True,
        "target": "val_mae<=0.64",
        "eval_every": EPOCH * 32,
    }
    with Launched(**fields) as launched:
        result = launched.run(run, Faults(launched))
    assert (result.status, result.stop_reason, result.attempts) == ("preempted", "preempted", 2)
    assert not [line for line in log(run).splitlines() if line.startswith("evaluated ")]  # `fit` has not returned
    with Launched(**fields) as launched:
        result, start = launched.resume(run)
    assert "from step" in start
    assert (result.status, result.stop_reason, result.attempts) == ("succeeded", "target", 3)
    assert result.steps is not None
    assert 4.5 * EPOCH < result.steps < 24 * EPOCH
    assert rows(run, "SELECT COUNT(DISTINCT step) FROM steps") == [(result.steps,)]

    history = printed(log(run), "history")
    assert history["keys"] == ["loss", "mae", "val_loss", "val_mae"]
    assert history["epochs"] == list(range(-(-result.steps // EPOCH)))
    assert printed(log(run), "evaluated")["mae"] < 0.65
    with (run / "log.csv").open() as file:
        logged = [int(row["epoch"]) for row in csv.DictReader(file)]
    assert sorted(set(logged)) == history["epochs"]  # one that ended after the last checkpoint is logged again
    assert len(logged) <= len(history["epochs"]) + 2
    show(run)
    assert "long.py" in (run / "report.html").read_text()
    assert json.loads((run / "result.json").read_text())["target"]["reached"]


def log(run: Path) -> str:
    return (run / "logs" / "worker-0.log").read_text(errors="replace")
