"""The seconds of a run are those on the wall: what callbacks take is in its time to target, and its parts add up."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import pytest

from orchestrator.api import compare
from orchestrator.results import RunResult
from orchestrator.spec.resolve import resolve_comparison
from tests.integration.jobs_under_test.pausing import ROWS
from tests.integration.local_runs import JOBS
from tests.integration.recorded_runs import Launched, rows
from tests.marked import slow

PAUSE, EPOCHS = 0.4, 5


def check_parts(result: RunResult) -> None:
    parts = [part for part in result.seconds.parts.model_dump().values() if part is not None]
    assert result.seconds.elapsed is not None
    assert math.fsum(parts) == pytest.approx(result.seconds.elapsed, rel=0.03)
    assert min(parts) >= 0


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_the_seconds_of_callbacks_are_in_the_time_to_target(mode: str, tmp_path: Path) -> None:
    """The target is met at the end of every epoch from the first on, and the run goes on until it is told."""
    fields = {"mode": mode, "batch_size": 16, "samples": EPOCHS * ROWS, "eval_every": ROWS}
    with Launched(job="pausing.py", params={"pause": PAUSE}, target="val_loss<=0.2", **fields) as group:
        begun = time.monotonic()
        result = group.run(tmp_path)
        wall = time.monotonic() - begun
    seconds, parts, target = result.seconds, result.seconds.parts, result.target
    check_parts(result)
    assert target is not None
    assert target.reached
    assert target.steps is not None
    assert target.seconds is not None
    assert target.training_seconds is not None
    assert seconds.elapsed is not None
    assert seconds.training is not None
    assert parts.callbacks is not None
    assert parts.validation is not None

    epochs = target.steps * fields["batch_size"] * (2 if mode == "sync" else 1) / ROWS
    assert epochs >= 2
    before = math.ceil(epochs) - 1  # callbacks of the last epoch run after its end
    assert target.seconds >= target.training_seconds + before * PAUSE
    assert wall >= seconds.elapsed >= target.seconds
    assert parts.callbacks >= before * PAUSE
    assert parts.validation > 0
    assert seconds.training == pytest.approx(seconds.elapsed - parts.callbacks - parts.validation)
    assert result.throughput.samples_per_s == pytest.approx(result.samples / seconds.training)  # type: ignore[operator]

    curve = rows(tmp_path, "SELECT clock FROM evaluations ORDER BY step")
    assert len(curve) >= before
    gaps = [later - earlier for (earlier,), (later,) in itertools.pairwise(curve)]
    assert min(gaps[:before]) >= PAUSE, "points of the curve are as far apart as on the wall"


@pytest.mark.slow
def test_a_contest_that_callbacks_reverse_names_the_right_winner(tmp_path: Path) -> None:
    """The variant whose steps are quick pauses after epochs; on the wall, the one with slow steps is sooner there."""
    spec = resolve_comparison(
        "pausing.py",
        {
            "directory": str(JOBS), "out": str(tmp_path / "run"), "backend": "local", "batch_size": 16,
            "samples": 4 * ROWS, "seeds": 5, "steps_per_call": 8,
            "variants": {
                "pauses": {"mode": "sync", "params.pause": 2.0},
                "plods": {"mode": "sync", "params.pause": 0.0, "straggler": "persistent:worker=0,factor=2,step=0.02"},
            },
        },
    )  # fmt: skip
    comparison = compare(spec)
    for mode in comparison.modes.values():
        for run in mode.runs:
            check_parts(run)
    training = {name: mode.summary.training_seconds for name, mode in comparison.modes.items()}
    elapsed = {name: mode.summary.elapsed_seconds for name, mode in comparison.modes.items()}
    assert training["pauses"] < training["plods"]  # type: ignore[operator]
    assert elapsed["pauses"] > elapsed["plods"]  # type: ignore[operator]
    assert comparison.verdict.winner == "plods"
    assert any("pauses would win" in reason for reason in comparison.verdict.reasons)
