"""An unstable loss is handled as the spec says: the run continues, stops or rolls back, in both modes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.results import RunResult
from tests.integration.jobs_under_test.diverging import RATE
from tests.integration.recorded_runs import Launched, rows
from tests.marked import slow

AT, STEPS, BATCH = 300, 900, 16


def launched_with(mode: str, **params: Any) -> Launched:
    per_step = 2 * BATCH if mode == "sync" else BATCH
    return Launched(
        job="diverging.py",
        mode=mode,
        batch_size=BATCH,
        steps_per_call=20,
        samples=STEPS * per_step,
        eval_every=60 * per_step,
        params={"at": AT, **params},
    )


def is_finite(result: RunResult) -> bool:
    loss = result.final["loss"]
    return loss is not None and math.isfinite(loss)


@pytest.fixture(scope="module", params=["sync", slow("async")])
def launched(request: pytest.FixtureRequest) -> Iterator[Launched]:
    kind = {"sync": "nan", "async": "rise"}[request.param]
    with launched_with(request.param, kind=kind) as group:
        yield group


def test_ignore_trains_on(launched: Launched, tmp_path: Path) -> None:
    result = launched.run(tmp_path, on_instability="ignore")
    assert (result.status, result.stop_reason, result.steps) == ("succeeded", "budget", STEPS)
    assert {"nan", "divergence"} & {finding.kind for finding in result.stability.findings}
    assert {finding.action for finding in result.stability.findings} == {"warned"}


def test_a_model_that_is_not_finite_has_not_succeeded(tmp_path: Path) -> None:
    """Its weights are lost at a known update; the losses after it are in the store, and no later than 2 s after it."""
    changes = {"samples": 10**9, "checkpoint_every": 60 * 2 * BATCH}
    with launched_with("sync", kind="nan") as group:
        result = group.run(tmp_path, **changes)
    assert (result.status, result.stop_reason) == ("failed", "nan")
    assert set(result.final.values()) == {None}
    assert result.steps is not None
    assert result.steps > AT
    written = rows(tmp_path, "SELECT detail FROM events WHERE kind = 'checkpoint' ORDER BY rowid DESC LIMIT 1")
    name = json.loads(written[0][0])["name"]
    assert name in result.failures[-1].summary
    assert int(name.partition("-")[0]) <= AT
    assert [finding.kind for finding in result.stability.findings if finding.action == "stopped"] == ["nan"]
    ((lost,), (last,)) = (
        rows(tmp_path, f"SELECT clock FROM steps WHERE step = {AT + 1}")[0],
        rows(tmp_path, "SELECT MAX(clock) FROM steps")[0],
    )
    assert last - lost < 2.0
    assert not (tmp_path / "model.keras").exists()


def test_stop_ends_the_run_and_names_the_finding(launched: Launched, tmp_path: Path) -> None:
    result = launched.run(tmp_path, on_instability="stop")
    finding = next(f for f in result.stability.findings if f.action == "stopped")
    assert finding.kind in ("nan", "divergence")
    named = ("failed", "nan") if finding.kind == "nan" else ("stopped", f"divergence at step {finding.step}")
    assert (result.status, result.stop_reason) == named
    assert result.steps is not None
    assert AT < result.steps < STEPS


def test_rollback_goes_back_once_with_half_the_learning_rate(launched: Launched, tmp_path: Path) -> None:
    result = launched.run(tmp_path, on_instability="rollback")
    finding = next(f for f in result.stability.findings if f.action != "warned")
    assert finding.step is not None
    assert finding.step >= AT
    back = int(finding.action.removeprefix("rolled back to step "))
    assert 0 < back < AT
    assert (result.status, result.stop_reason, result.steps) == ("succeeded", "budget", STEPS)
    assert is_finite(result)
    assert result.attempts == 1

    # Steps up to the snapshot stand, those after it were taken again, and every one is there.
    second = [step for (step,) in rows(tmp_path, "SELECT step FROM steps WHERE attempt = 2 ORDER BY step")]
    assert second == list(range(back + 1, STEPS + 1))
    (ended,), (begun,) = (
        rows(tmp_path, "SELECT MAX(clock) FROM steps WHERE attempt = 1"),
        rows(tmp_path, "SELECT MIN(clock) FROM steps WHERE attempt = 2"),
    )
    assert begun[0] > ended[0], "the clock continues"
    assert [kind for (kind,) in rows(tmp_path, "SELECT kind FROM events WHERE kind = 'rollback'")] == ["rollback"]
    assert (result.seconds.parts.recovery or 0.0) > 0

    final = next(snapshot for stamp, snapshot in launched.backend.groups[-1].kept.items() if stamp.final)
    assert int(final.optimizer[0]) == STEPS
    np.testing.assert_allclose(final.optimizer[1], RATE / 2, rtol=1e-6)


def test_what_is_not_finite_is_never_a_snapshot(launched: Launched, tmp_path: Path) -> None:
    launched.run(tmp_path)
    assert all(snapshot.is_finite() for snapshot in launched.backend.groups[-1].kept.values())
    steps = [stamp.step for stamp in launched.backend.groups[-1].kept]
    if launched.fields["params"]["kind"] == "nan":
        assert max(steps) <= AT
    else:
        assert max(steps) == STEPS
    evaluated = rows(tmp_path, "SELECT MAX(step) FROM evaluations")[0][0]
    assert evaluated == max(steps)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_schedule_is_halved_as_well(mode: str, tmp_path: Path) -> None:
    with launched_with(mode, kind="nan", schedule=True) as group:
        for name in ("first", "second"):  # the next run of the group starts from the whole rate again
            (tmp_path / name).mkdir()
            result = group.run(tmp_path / name, on_instability="rollback")
            actions = [finding.action for finding in result.stability.findings if finding.kind == "nan"]
            assert len(actions) == 1
            assert actions[0].startswith("rolled back to step ")
            assert result.stop_reason == "budget"
            assert is_finite(result)
