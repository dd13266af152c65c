"""Models written for plain Keras train in every mode, unchanged, and in one process as `model.fit` trains them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integration import side_by_side
from tests.integration.jobs_under_test.models import MODELS
from tests.integration.local_runs import train
from tests.marked import fast
from workers.modes.registry import traits

TOLERANCE = 1e-5
TYPICAL = ("sequential_cnn", "several_inputs_and_outputs", "gan", "transformer")


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Models by mode `single` and by `fit`, in one process."""
    names = side_by_side.asked_for(request, "name")
    answer = tmp_path_factory.mktemp("models") / "answer.json"
    found = side_by_side.compare(1, "models.py", [{"model": name} for name in names], answer)
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("name", fast(MODELS, *TYPICAL[:2]))
def test_one_process_is_fit(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert "error" not in answer, answer["error"]
    ours, plain = answer["ours"], answer["plain"]
    assert len(ours["logs"]) == len(plain["logs"]) == side_by_side.STEPS
    for mine, theirs in zip(ours["logs"], plain["logs"], strict=True):
        assert mine.keys() == theirs.keys()
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=TOLERANCE)
    for mine, theirs in zip(ours["weights"], plain["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_one_synchronous_worker_is_one_process() -> None:
    assert traits("sync").load() is traits("single").load()


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPICAL)
def test_one_asynchronous_worker_is_fit(name: str, answers: dict[str, dict[str, Any]]) -> None:
    """A single worker's updates come one after another, so that not even the asynchronous mode may differ."""
    batch, steps = side_by_side.BATCH, side_by_side.STEPS
    trained = train(
        "models.py",
        seeds=(side_by_side.SEED,),
        mode="async",
        workers=1,
        batch_size=batch,
        samples=steps * batch,
        eval_every=steps * batch,
        params={"model": name},
    )[0]
    plain = answers[name]["plain"]
    np.testing.assert_allclose(trained.losses, [logs["loss"] for logs in plain["logs"]], rtol=TOLERANCE)
    assert {f"val_{metric}" for metric in plain["logs"][0]} >= {"val_loss"}
    assert np.isfinite(trained.evaluations[-1].metrics["val_loss"])
