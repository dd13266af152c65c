"""What `fit` does outside of `train_step`, and state that a model brings with it, in both modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integration import side_by_side
from tests.integration.jobs_under_test.beyond_the_step import ALONE, AVERAGED, BEFORE, LOADED
from tests.integration.local_runs import Trained, train
from tests.marked import slow

BATCH, STEPS = side_by_side.BATCH, side_by_side.STEPS


def both(mode: str, workers: int, job: str = "Regression", **params: Any) -> tuple[Trained, dict[str, Any]]:
    """A leg, and `fit` in one process on the batches of all workers together."""
    job = f"beyond_the_step.py:{job}"
    together = workers if mode == "sync" else 1
    trained = train(
        job,
        seeds=(side_by_side.SEED,),
        mode=mode,
        workers=workers,
        batch_size=BATCH,
        samples=STEPS * BATCH * together,
        params=params,
    )[0]
    return trained, side_by_side.plain(job, params, together)


def assert_equal(trained: Trained, plain: dict[str, Any], tolerance: float) -> None:
    np.testing.assert_allclose(trained.losses, [logs["loss"] for logs in plain["logs"]], rtol=tolerance)
    for mine, theirs in zip(trained.final.weights, plain["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("mode", "workers", "kind"),
    [
        ("sync", 1, "sgd"),
        *(slow("sync", 1, kind) for kind in ALONE),
        *(slow("sync", 2, kind) for kind in AVERAGED),
        slow("async", 1, "adam"),
    ],
)
def test_the_final_weights_are_those_of_fit(mode: str, workers: int, kind: str) -> None:
    assert_equal(*both(mode, workers, kind=kind), tolerance=1e-6 if mode == "sync" else 1e-5)


@pytest.mark.parametrize("mode", [slow("async"), "sync"])
def test_on_train_end_has_the_final_weights_and_epochs_do_not(mode: str) -> None:
    trained, plain = both(mode, 1, "WithCallbacks", kind="adam")
    assert_equal(trained, plain, 1e-5)
    told = next(line for line in b"".join(trained.log.values()).splitlines() if line.startswith(b"ON TRAIN END"))
    assert float(told.split()[-1]) == pytest.approx(np.abs(plain["weights"][0]).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "workers", "kind"),
    [
        slow("async", 1, "schedule"),
        *(slow("async", 1, kind) for kind in ("adam", "averaged")),
        *(slow("sync", 2, kind) for kind in LOADED if kind != "nadam"),
    ],
)
def test_a_loaded_model_continues_where_it_was(mode: str, workers: int, kind: str) -> None:
    trained, plain = both(mode, workers, kind=kind, loaded=True)
    assert_equal(trained, plain, 1e-6 if mode == "sync" else 1e-5)
    assert int(trained.final.optimizer[0]) == BEFORE + STEPS


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [("sync", "async", "schedule"), slow("async", "sync", "schedule"), slow("sync", "async", "nadam")],
)
def test_a_snapshot_of_a_loaded_model_continues_in_another_mode(first: str, second: str, kind: str) -> None:
    """Schedules and bias corrections follow the count of all updates, those before the run included."""
    job, half = "beyond_the_step.py:Regression", STEPS // 2
    params = {"kind": kind, "loaded": True}
    spec: dict[str, Any] = {"seeds": (side_by_side.SEED,), "workers": 1, "batch_size": BATCH, "params": params}
    began = train(job, mode=first, samples=half * BATCH, **spec)[0]
    assert began.final.position
    ended = train(job, mode=second, samples=STEPS * BATCH, since=began.final, **spec)[0]
    plain = side_by_side.plain(job, params, 1)
    assert ended.steps.tolist() == list(range(half + 1, STEPS + 1))
    losses = [logs["loss"] for logs in plain["logs"]]
    np.testing.assert_allclose([*began.losses, *ended.losses], losses, rtol=1e-5)
    for mine, theirs in zip(ended.final.weights, plain["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    assert int(ended.final.optimizer[0]) == BEFORE + STEPS
