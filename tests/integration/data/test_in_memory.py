"""Data in memory: in async too, a dataset of arrays is as good as one of files, however large the arrays are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.local_runs import JOBS, train

WAYS = ("slices", "dictionary", "tensors", "gathered", "constant")
STEPS, BATCH = 20, 32


def losses(mode: str, **params: object) -> np.ndarray:
    fields = {"workers": 1, "batch_size": BATCH, "samples": STEPS * BATCH, "eval_every": STEPS * BATCH}
    return train("in_memory.py", mode=mode, params=params, **fields)[0].losses


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_async_trains_on_arrays_as_sync_does(way: str) -> None:
    np.testing.assert_allclose(losses("async", way=way), losses("sync", way=way), rtol=1e-5)


_GRAPHS = """
import sys, keras, tensorflow as tf
sys.path.insert(0, sys.argv[1])
from in_memory import InMemory
from jobs.api import DataContext
from workers.data.in_memory import captured_arrays
for way in sys.argv[2:]:
    job = InMemory(InMemory.Params(way=way))
    def make():
        with captured_arrays():
            return job.train_dataset(DataContext(32))
    function = tf.function(make).get_concrete_function()
    captured = sum(tensor.numpy().nbytes for tensor in function.captured_inputs)
    print(way, len(function.graph.as_graph_def().SerializeToString()), captured)
"""


def test_no_way_writes_arrays_into_the_graph() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _GRAPHS, str(JOBS), *WAYS], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    for way, size, captured in (line.split() for line in done.stdout.splitlines()):
        assert int(size) < 300_000, way
        assert int(captured) >= 8 << 20, way
