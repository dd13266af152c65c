"""Synchronous training equals one process on the joined batches, however the loss and the step are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integration import side_by_side
from tests.integration.jobs_under_test.losses import KINDS
from tests.integration.local_runs import Broken, train
from tests.marked import fast, slow
from workers.messages import FailureKind

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    kinds = [kind for kind in side_by_side.asked_for(request, "kind") if kind in KINDS]
    answer = tmp_path_factory.mktemp("losses") / "answer.json"
    found = side_by_side.compare(2, "losses.py", [{"kind": kind} for kind in kinds], answer)
    return dict(zip(kinds, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", fast(KINDS, "scalar_function", "sum_and_mean_outputs", "own_loss_train_step"))
def test_two_devices_of_one_worker(kind: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[kind]
    assert "error" not in answer, answer["error"]
    ours, plain = answer["ours"], answer["plain"]
    assert len(ours["logs"]) == len(plain["logs"]) == side_by_side.STEPS
    for mine, theirs in zip(ours["logs"], plain["logs"], strict=True):
        assert mine.keys() == theirs.keys()
        np.testing.assert_allclose([mine[name] for name in theirs], list(theirs.values()), rtol=TOLERANCE)
    for mine, theirs in zip(ours["weights"], plain["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["guide_train_step", slow("loss_scale_optimizer")])
def test_two_workers(kind: str) -> None:
    """The loss-scaling one overflows at first, on one of the replicas only: neither may wait for the other."""
    batch, steps = side_by_side.BATCH, side_by_side.STEPS
    two = train(
        "losses.py",
        seeds=(side_by_side.SEED,),
        mode="sync",
        workers=2,
        batch_size=batch,
        samples=steps * 2 * batch,
        params={"kind": kind},
    )[0]
    one = side_by_side.plain("losses.py", {"kind": kind}, 2)
    np.testing.assert_allclose(two.losses, [logs["loss"] for logs in one["logs"]], rtol=TOLERANCE)
    for mine, theirs in zip(two.final.weights, one["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_what_keras_cannot_do_on_several_replicas_is_said_beforehand() -> None:
    with pytest.raises(Broken) as broken:
        train("losses.py", mode="sync", workers=2, batch_size=16, samples=320, params={"kind": "accumulation"})
    assert broken.value.cause.kind is FailureKind.SPEC
    assert "gradient_accumulation_steps=2" in broken.value.cause.summary
