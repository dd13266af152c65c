"""Large arrays given to `fit` are in memory once for all tasks of a host, and mean what they mean in one process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.local_runs import train
from tests.integration.scripts.test_unchanged_scripts import SCRIPTS, plain, printed
from tests.marked import slow

GIGABYTE = 954
"""In the megabytes of 1024 * 1024 bytes that are counted here."""
TASK_MEGABYTES = 250
"""Of a task without its arrays; 180 were measured."""


@pytest.mark.parametrize(
    ("mode", "workers", "megabytes"), [("sync", 2, 400), slow("async", 2, 400), slow("sync", 3, GIGABYTE)]
)
def test_tasks_hold_one_copy_together(mode: str, workers: int, megabytes: int, tmp_path: Path) -> None:
    shutil.copy(SCRIPTS / "large.py", tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    fields = {
        "directory": str(tmp_path),
        "params": {"args": [str(megabytes)], "fit": 1},
        "mode": mode,
        "workers": workers,
        "global_batch_size": 240,
        "samples": 2 * 8 * 240,
        "launch_timeout": 600,
        "files_apart": True,
    }
    (trained,) = train("large.py", folder=run, **fields)
    log = trained.log["chief:0" if mode == "async" else "worker:0"].decode().replace("\r", "\n")
    held = printed(log, "held")
    assert held["tasks"] > workers
    assert held["megabytes"] < megabytes + held["tasks"] * TASK_MEGABYTES
    assert megabytes != GIGABYTE or held["megabytes"] < 2 * GIGABYTE
    alone = plain("large.py", str(megabytes), cwd=tmp_path)
    assert printed(log, "after") == printed(alone, "after")
    if mode == "sync":
        for name, values in printed(alone, "history").items():
            assert printed(log, "history")[name] == pytest.approx(values, rel=1e-5), name
