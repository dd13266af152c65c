"""Real runs of the built-in jobs; test_builtin_jobs.py checks that each builds and learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.mnist_dnn import REUSED, final_weights, saved_layers
from tests.integration.local_runs import train
from tests.marked import slow

STEPS = 10_000


@pytest.mark.slow
@pytest.mark.parametrize("workers", [slow(1), 2])
def test_linear_ends_at_the_closed_form_with_any_number_of_workers(workers: int) -> None:
    samples = STEPS * 5 * workers
    trained = train("linear", mode="sync", workers=workers, batch_size=5, samples=samples, eval_every=samples)[0]
    assert trained.ended is not None
    assert trained.ended.finished.steps == STEPS
    kernel, bias = (float(array.item()) for array in trained.final.weights)
    assert kernel == pytest.approx(2.98236, abs=1e-3)
    assert bias == pytest.approx(2.07054, abs=1e-3)
    assert trained.losses[-1] == pytest.approx(2.12941, abs=1e-3)
    assert trained.evaluations[-1].metrics["val_loss"] == pytest.approx(2.12941, abs=1e-3)


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_two_stage_has_two_devices_in_every_worker(mode: str) -> None:
    trained = train(
        "spread.py:Spread",
        mode=mode,
        workers=2,
        batch_size=32,
        samples=6_400,
        devices_per_replica=2,
        params={"devices": "CPU:0,CPU:1"},
    )[0]
    assert trained.ended is not None
    assert trained.ended.plan is not None
    assert trained.ended.plan.global_batch == (64 if mode == "sync" else 32)  # each worker is one replica
    assert trained.losses[-10:].mean() < trained.losses[:10].mean() / 2


@pytest.mark.slow
def test_fashion_mnist_has_the_same_loss_curve_through_keras_and_through_a_custom_loop(tmp_path: Path) -> None:
    curves = {}
    for loop in ("fit", "custom"):
        (tmp_path / loop).mkdir()
        curves[loop] = train(
            "fashion-mnist",
            mode="sync",
            workers=2,
            batch_size=25,
            epochs=3,
            params={"data": "synthetic", "limit": 400, "loop": loop},
            folder=tmp_path / loop,
        )[0].losses
        assert (tmp_path / loop / "best.keras").is_file()
    np.testing.assert_allclose(curves["fit"], curves["custom"], rtol=1e-5)


@pytest.mark.slow
def test_quadratic_leaves_its_curve_and_mnist_dnn_builds_on_an_earlier_run(tmp_path: Path) -> None:
    train("quadratic", mode="async", workers=1, batch_size=20, samples=2_000, folder=tmp_path)
    assert "x^2" in (tmp_path / "fitted_curve.html").read_text()

    first, second = tmp_path / "first", tmp_path / "second"
    for folder, params in ((first, {}), (second, {"reuse": str(first)})):
        folder.mkdir()
        train(
            "mnist-dnn",
            mode="sync",
            workers=1,
            batch_size=50,
            samples=1_000,
            params={"data": "synthetic", "limit": 500, **params},
            folder=folder,
        )
    before, after = (saved_layers(final_weights(folder), (*REUSED, "hidden4")) for folder in (first, second))
    for layer in REUSED:
        assert all(np.array_equal(a, b) for a, b in zip(before[layer], after[layer], strict=True))
    assert not np.array_equal(before["hidden4"][0], after["hidden4"][0])
