"""`--mixed-precision` and `--jit` reach every task, and the model still learns the same thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.integration.local_runs import train
from tests.marked import slow


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_sixteen_bits_and_xla(mode: str, tmp_path: Path) -> None:
    fields = {"mode": mode, "workers": 2, "batch_size": 16, "samples": 3200, "folder": tmp_path}
    exact = train("precision.py:Noted", **fields)[0]
    assert (tmp_path / "dtype.txt").read_text() == "float32 float32"
    fast = train("precision.py:Noted", **fields, mixed_precision=True, jit=True)[0]
    assert (tmp_path / "dtype.txt").read_text() == "bfloat16 float32"
    assert all(array.dtype == np.float32 for array in fast.final.weights)
    compute = ["worker:0", "worker:1"]
    assert all(b"Compiled cluster using XLA" in fast.log[task] for task in compute)
    assert not any(b"Compiled cluster using XLA" in exact.log[task] for task in compute)
    if mode == "sync":  # async: which worker's batch is first is not known
        assert fast.losses[0] != exact.losses[0]
        np.testing.assert_allclose(fast.losses[0], exact.losses[0], rtol=0.02)
    np.testing.assert_allclose(fast.losses[-20:].mean(), exact.losses[-20:].mean(), rtol=0.2)


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_job_that_asks_for_float16_itself_gets_its_loss_scaled(mode: str, tmp_path: Path) -> None:
    trained = train("precision.py:Half", mode=mode, workers=2, batch_size=16, samples=3200, folder=tmp_path)[0]
    assert (tmp_path / "dtype.txt").read_text() == "float16 float32"
    assert trained.losses[-20:].mean() < trained.losses[:20].mean()
    assert trained.ended is not None
    assert trained.ended.finished.optimizer_iterations == trained.ended.finished.steps
