"""`switch:f` is sync before the change, goes on from the very state in which sync ended, and is one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.report.stored import load_run
from orchestrator.report.stretches import samples_at
from orchestrator.results import RunResult
from tests.integration.exactness.test_sync_is_exact import in_one_process
from tests.integration.local_runs import train
from tests.integration.recorded_runs import Launched, rows
from tests.marked import slow
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import CheckpointStore

BATCH = 16
FIELDS: dict[str, Any] = {"ps": 1, "workers": 2, "batch_size": BATCH, "samples": 64 * BATCH, "eval_every": 8 * BATCH}


def made(run: Path) -> Path:
    run.mkdir()
    return run


def losses(run: Path) -> dict[int, float]:
    return dict(rows(run, "SELECT step, loss FROM steps ORDER BY attempt"))


def test_the_second_group_begins_with_the_arrays_of_the_first_and_the_curve_before_is_that_of_sync(
    tmp_path: Path,
) -> None:
    job = {"job": "called.py:Called", "params": {"set": "resuming", "rows": 4096}}
    with Launched(**job, mode="switch:0.5", **FIELDS) as launched:
        result = launched.run(made(tmp_path / "run"))
        taken_over = next(snapshot for stamp, snapshot in launched.backend.groups[-1].kept.items() if stamp.final)
    assert (result.status, result.stop_reason, result.steps, result.samples) == ("succeeded", "callback", 16, 512)
    store = CheckpointStore(LocalStorage(tmp_path / "run" / "checkpoints"), "run")
    ended = store.read(next(name for name in store.names() if name.endswith("-1"))).snapshot
    assert (taken_over.step, taken_over.samples) == (ended.step, ended.samples) == (16, 512)
    for name in ("weights", "optimizer"):
        for ours, theirs in zip(getattr(taken_over, name), getattr(ended, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    own = losses(tmp_path / "run")
    assert sorted(own) == list(range(1, 17))
    np.testing.assert_allclose([own[step] for step in sorted(own)], in_one_process(2, 16, {})[0], rtol=1e-6)


@pytest.mark.slow
def test_with_all_samples_before_the_change_it_is_sync(tmp_path: Path) -> None:
    sync = train("exact.py", mode="sync", **FIELDS)[0].final
    with Launched(job="exact.py", mode="switch:1", **FIELDS) as launched:
        result = launched.run(made(tmp_path / "run"))
        (own,) = [snapshot for stamp, snapshot in launched.backend.groups[-1].kept.items() if stamp.final]
    assert (result.steps, result.attempts, result.tasks) == (32, 1, {"worker": 2, "evaluator": 1})
    for ours, theirs in zip(own.weights, sync.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", [slow("switch:0.5"), slow("switch:0.25,from=async")])
def test_one_worker_is_one_process_before_and_after(mode: str, tmp_path: Path) -> None:
    fields = FIELDS | {"workers": 1}
    with Launched(job="exact.py", mode=mode, **fields) as launched:
        launched.run(made(tmp_path / "run"))
        (own,) = [snapshot for stamp, snapshot in launched.backend.groups[-1].kept.items() if stamp.final]
    expected, weights = in_one_process(1, 64, {})
    found = losses(tmp_path / "run")
    np.testing.assert_allclose([found[step] for step in sorted(found)], expected, rtol=1e-4)
    for ours, theirs in zip(own.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def check_two_stages(run: Path, result: RunResult, first: int, steps: int) -> None:
    """Check that one mode took `first` steps, and the other the rest."""
    assert (result.status, result.stop_reason, result.steps, result.updates) == ("succeeded", "budget", steps, steps)
    assert (result.attempts, result.dropped_gradients, result.doubled_updates) == (2, 0, 0)
    assert rows(run, "SELECT attempt, MIN(step), MAX(step), COUNT(*) FROM steps GROUP BY attempt ORDER BY attempt") == [
        (1, 1, first, first),
        (2, first + 1, steps, steps - first),
    ]
    ((detail,),) = rows(run, "SELECT detail FROM events WHERE kind = 'switched'")
    switched = json.loads(detail)
    ((lost,),) = rows(run, f"SELECT MIN(clock) - {switched['clock']} FROM steps WHERE attempt = 2")
    assert switched["step"] == first
    assert result.seconds.parts.recovery is not None
    assert 0.5 * lost < result.seconds.parts.recovery <= lost


@pytest.mark.slow
def test_callbacks_go_on_and_a_further_seed_begins_in_the_first_mode_again(tmp_path: Path) -> None:
    """An epoch is 512 samples. The change is within the second; the rate that callbacks set goes on falling."""
    fields = FIELDS | {"samples": 4 * 512, "eval_every": 512}
    with Launched(job="called.py:Called", params={"set": "epochs"}, mode="switch:0.375", **fields) as launched:
        for run, seed in ((tmp_path / "a", 0), (tmp_path / "b", 1)):
            result = launched.run(made(run), seed=seed)
            check_two_stages(run, result, 24, 24 + 80)
            notes = [line.split()[0:2] for line in (run / "notes.txt").read_text().splitlines()]
            begun = [["begin"], ["start", "0"], ["epoch", "0"], ["start", "1"]]
            assert notes[:4] == begun
            assert notes[4] == ["begin"]  # in the second group; its first epoch has begun already
            assert notes[5:] == [
                ["epoch", "1"],
                ["start", "2"],
                ["epoch", "2"],
                ["start", "3"],
                ["epoch", "3"],
                ["end"],
            ]
            rates = rows(run, "SELECT json_extract(logs, '$.learning_rate') FROM calls ORDER BY attempt, last_step")
            assert rates[0][0] > rates[-1][0]
            assert (run / "model.keras").is_file()


@pytest.mark.slow
def test_a_target_that_is_met_in_the_first_mode_ends_the_run(tmp_path: Path) -> None:
    """The evaluation of the last step before the change is scored when the leg has ended."""
    fields = FIELDS | {"eval_every": 512, "target": "val_loss<=1000"}
    with Launched(job="exact.py", mode="switch:0.5", **fields) as launched:
        result = launched.run(made(tmp_path / "run"))
    assert (result.status, result.stop_reason, result.steps, result.attempts) == ("succeeded", "target", 16, 1)
    assert result.target is not None
    assert (result.target.reached, result.target.steps) == (True, 16)
    assert result.final["val_loss"] is not None
    assert (tmp_path / "run" / "model.keras").is_file()
    assert not rows(tmp_path / "run", "SELECT 1 FROM events WHERE kind = 'switched'")


@pytest.mark.slow
def test_a_rollback_to_the_beginning_is_one_to_the_first_mode(tmp_path: Path) -> None:
    """The weights are lost so soon after the change that no snapshot since then is good."""
    fields = FIELDS | {"samples": 1160 * BATCH, "eval_every": 100 * BATCH, "steps_per_call": 10}
    fields |= {"job": "diverging.py", "params": {"kind": "nan", "at": 305}, "on_instability": "rollback"}
    with Launched(mode="switch:0.5", **fields) as launched:
        result = launched.run(made(tmp_path / "run"))
    assert (result.status, result.stop_reason, result.steps, result.attempts) == ("succeeded", "budget", 290 + 580, 4)
    assert [finding.action for finding in result.stability.findings if finding.kind == "nan"] == [
        "rolled back to step 0"
    ]
    switched = rows(
        tmp_path / "run", "SELECT attempt, json_extract(detail, '$.step') FROM events WHERE kind = 'switched'"
    )
    assert switched == [(1, 290), (3, 290)]
    begun = rows(tmp_path / "run", "SELECT attempt, MIN(step) FROM steps GROUP BY attempt ORDER BY attempt")
    assert begun == [(1, 1), (2, 291), (4, 1), (5, 291)]  # a rollback counts as another attempt in the rows of steps
    run = load_run(tmp_path / "run")
    assert [samples_at(run, step) for step in (290, 870)] == [290 * 2 * BATCH, 1160 * BATCH]
