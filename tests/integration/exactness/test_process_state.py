"""Jobs that change state of the whole process train as without it, or as `fit` does with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.local_runs import JOBS, Broken, train
from tests.marked import slow
from workers.messages import FailureKind

BATCH, ROWS, EPOCHS = 16, 512, 2
FIT = """
import sys
sys.path.insert(0, sys.argv[1])
import keras, numpy, json
from jobs.api import DataContext
from meddling import Meddling
params = Meddling.Params(does=sys.argv[2])
job = Meddling(params)
keras.utils.set_random_seed(0)
model = job.build_model()
model.fit(job.train_dataset(DataContext(int(sys.argv[3]))), epochs=2, verbose=0)
numpy.savez(sys.argv[4], *model.get_weights())
"""


def plain_fit(does: str, batch: int, folder: Path) -> list[np.ndarray]:
    """`fit` in a process of its own, which may be spoilt; returns the final weights."""
    saved = folder / "fit.npz"
    command = [sys.executable, "-c", FIT, str(JOBS), does, str(batch), str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(saved) as arrays:
        return list(arrays.values())


def run(mode: str, workers: int, does: str, folder: Path, **fields: Any) -> Any:
    return train(
        "meddling.py:Meddling",
        mode=mode,
        workers=workers,
        batch_size=BATCH,
        epochs=EPOCHS,
        params={"does": does},
        folder=folder,
        **fields,
    )[0]


HARMLESS = (
    *("clear", "graph", "eager", "placement", "threads", "devices", "environment", "terminated", "surroundings"),
    *("logs", "silence", "signals", "strict", "variables", "interpreter", "tensorflow"),
)
SAID = {
    "clear": "clear_session() resets automatic names only",
    "graph": "reset_default_graph() has no effect",
    "eager": "build_model changed tf.config.run_functions_eagerly, which was put back",
    "placement": "build_model changed tf.config.set_soft_device_placement, which was put back",
    "threads": "set_intra_op_parallelism_threads has no effect",
    "devices": "set_logical_device_configuration has no effect",
    "environment": "build_model changed the environment variable TF_CONFIG, which was put back",
    "terminated": "build_model changed the handler of SIGTERM, which was put back",
    "strict": "build_model changed warnings.filters, which was put back",
}


@pytest.mark.parametrize(
    ("mode", "workers", "does"),
    [
        slow("sync", 2, ",".join(HARMLESS)),
        slow("async", 1, ",".join(HARMLESS)),
        slow("sync", 2, "determinism"),
        slow("async", 1, "determinism,check_numerics"),
    ],
)
def test_it_trains_as_without(mode: str, workers: int, does: str, tmp_path: Path) -> None:
    trained = run(mode, workers, does, tmp_path)
    weights = plain_fit("", BATCH * workers, tmp_path)
    for mine, other in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    assert trained.ended is not None
    assert trained.evaluations
    log = trained.log["worker:0" if mode == "sync" else "chief:0"].decode()
    for one in does.split(","):
        if one in SAID:
            assert log.count(SAID[one]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "workers"), [("sync", 2), ("async", 1)])
def test_a_file_that_changes_it_when_it_is_read(mode: str, workers: int, tmp_path: Path) -> None:
    """Seeds too: those of the run are set before the model is built."""
    spec: dict[str, Any] = {"mode": mode, "workers": workers, "batch_size": BATCH, "epochs": EPOCHS}
    trained = train("meddling_early.py:Early", folder=tmp_path, **spec)[0]
    for mine, other in zip(trained.final.weights, plain_fit("", BATCH * workers, tmp_path), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    log = trained.log["worker:0" if mode == "sync" else "chief:0"].decode()
    assert log.count("the job's file changed warnings.filters, which was put back") == 1


@pytest.mark.parametrize(
    ("mode", "workers", "does"), [("sync", 2, "seed"), slow("sync", 2, "float64"), slow("sync", 2, "seeds")]
)
def test_it_trains_as_fit_does(mode: str, workers: int, does: str, tmp_path: Path) -> None:
    """What a job says of its own numbers is the job's."""
    trained = run(mode, workers, does, tmp_path)
    for mine, other in zip(trained.final.weights, plain_fit(does, BATCH * workers, tmp_path), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
        assert mine.dtype == other.dtype


@pytest.mark.parametrize("does", ["clear", slow("clear,eager")])
def test_mixed_precision_stays(does: str, tmp_path: Path) -> None:
    run("sync", 1, does, tmp_path, mixed_precision=True)
    assert (tmp_path / "notes.txt").read_text() == "mixed_bfloat16"


def test_eager_execution_that_is_turned_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Broken) as broken:
        train("meddling.py:OldGraphs", mode="sync", workers=1, samples=ROWS, folder=tmp_path)
    assert broken.value.cause.kind is FailureKind.SPEC
    assert "disable_eager_execution" in broken.value.cause.summary
