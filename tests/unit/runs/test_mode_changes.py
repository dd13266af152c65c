"""A run that continues in another mode: which checkpoints fit, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ClusterError, UsageError
from orchestrator.runs.checkpoints import Resumed, checkpointing, resume_point
from orchestrator.runs.resume import plan_resume
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import CHECKPOINTS, RunStore
from tests.unit.checkpoints.snapshots import a_snapshot
from workers.checkpoints.destination import open_storage
from workers.checkpoints.store import CheckpointStore
from workers.messages import Leg
from workers.snapshot import Snapshot

pytestmark = pytest.mark.unit


def interrupted(
    path: Path, mode: str, *legs: str, snapshot: Snapshot | None = None, written_in: str | None = None, **fields: Any
) -> RunSpec:
    """The folder of a run that began in `mode` and had `legs`, with a checkpoint of the last of them."""
    spec = RunSpec.make({"job": "digits", "mode": mode, "workers": 3, "directory": str(path), "seed": 1, **fields})
    path.mkdir()
    store = RunStore(path)
    store.write_spec(spec.resolved() | {"run_id": "r"})
    for number, own in enumerate(legs, 1):
        store.event(number, "leg_started", mode=own)
    store.close()
    about = {
        "seed": 1,
        "job": "digits",
        "mode": written_in or [mode, *legs][-1],
        "workers": 3,
        "batch_size": spec.batch_size,
    }
    checkpoints = CheckpointStore(open_storage(str(path / CHECKPOINTS)), "r")
    checkpoints.claim(1)
    checkpoints.write(snapshot or a_snapshot(70), 1, about)
    return spec


def test_a_run_continues_in_another_mode_from_its_last_checkpoint(tmp_path: Path) -> None:
    interrupted(tmp_path / "r", "sync", "sync")
    planned, start = plan_resume(tmp_path / "r", {"mode": "ssp:2", "workers": None})
    assert (planned.spec.mode, planned.spec.workers) == ("ssp:2", 3)
    assert planned.resumed is not None
    assert planned.resumed.modes == ("sync",)
    assert start.endswith("in mode ssp:2, after sync")
    leg = Leg("r", planned.spec.replica, checkpoints=checkpointing(planned.spec, "r", planned.path, 3), attempt=2)
    point = resume_point(leg, replace(planned.resumed, attempt=2))
    assert point.leg.start is not None
    assert (point.leg.start.step, point.leg.settings.mode) == (70, "ssp:2")
    with pytest.raises(ClusterError, match=r"mode sync; the run has .* mode ssp:2"):
        resume_point(replace(leg, attempt=3), Resumed(3, 0.0))


def test_it_keeps_to_the_mode_it_changed_to(tmp_path: Path) -> None:
    interrupted(tmp_path / "r", "sync", "sync", "async", "sync", "async")
    planned, start = plan_resume(tmp_path / "r", {})
    assert planned.spec.mode == "async"
    assert planned.resumed is not None
    assert planned.resumed.modes == ("sync", "async")
    assert "in mode" not in start


def test_waiting_gradients_are_dropped_and_that_is_said(tmp_path: Path) -> None:
    waiting = (np.array([2, 5, 15, 4, 0], np.int64), np.zeros((3, 2), np.float32))
    interrupted(tmp_path / "r", "kasync:4", snapshot=replace(a_snapshot(70), gathered=waiting))
    assert plan_resume(tmp_path / "r", {})[1].endswith("-1)")
    assert plan_resume(tmp_path / "r", {"mode": "async"})[1].endswith(
        "in mode async, after kasync:4; 2 gradients that waited for others in kasync:4 are dropped"
    )


@pytest.mark.parametrize(
    ("mode", "switched", "stage", "said"),
    [
        ("switch:0.5", None, 0, "in sync, of switch:0.5"),
        ("switch:0.5", ("switch:0.5", 70), 1, "in async, of switch:0.5"),  # at the change itself
        ("switch:0.5", ("switch:0.5", 20), 1, "in async, of switch:0.5"),
        ("switch:0.5", ("switch:0.5", 90), 0, "in sync, of switch:0.5"),  # the checkpoints since are damaged
        ("switch:0.8", ("switch:0.5", 20), 0, "in sync, of switch:0.8"),  # changed by `resume --mode`
        ("async", ("switch:0.5", 90), 0, "in mode async, after sync"),
    ],
)
def test_a_run_continues_in_the_mode_that_it_had_reached(
    tmp_path: Path, mode: str, switched: tuple[str, int] | None, stage: int, said: str
) -> None:
    spec = interrupted(tmp_path / "r", "switch:0.5", "switch:0.5", written_in="sync")
    if switched is not None:
        of, step = switched
        store = RunStore(tmp_path / "r", reopen=True)
        store.event(1, "switched", None, step=step, clock=1.0, to="async", stage=1, of=of)
        store.close()
    planned, start = plan_resume(tmp_path / "r", {"mode": mode})
    assert planned.resumed is not None
    assert (planned.spec.mode, planned.resumed.stage) == (mode, stage)
    assert start.endswith(said)
    assert spec.stages[0].mode == "sync"


@pytest.mark.parametrize(
    ("began", "fields", "changes", "said"),
    [
        ("local:4,outer=nesterov", {}, {"mode": "sync"}, "momentum of the outer optimizer of local:4,outer=nesterov"),
        ("sync", {}, {"mode": "sink"}, "mode"),
        ("sync", {}, {"mode": "backup:3"}, "workers: 3 is too few for mode backup:3"),
        ("sync", {"balance": True}, {"mode": "async"}, "balance: does not work with mode async"),
        ("sync", {"ps": 0}, {"mode": "switch:0.5"}, "ps: 0 does not work with mode switch:0.5"),
        ("sync", {"ps": 0}, {"mode": "async"}, "ps: 0 does not work with mode async"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, began: str, fields: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    outer = (np.ones(3, np.float32),) if "outer" in began else ()
    interrupted(tmp_path / "r", began, snapshot=replace(a_snapshot(70), outer=outer), **fields)
    with pytest.raises(UsageError, match=said):
        plan_resume(tmp_path / "r", changes)
