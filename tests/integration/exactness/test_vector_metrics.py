"""Metrics that are vectors: their elements and their mean, in training's logs, in evaluations and for callbacks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, train
from tests.marked import slow

BATCH, STEPS = 16, 32
NAMES = {
    "f1": {"f1_score": "f1_score_{}"},
    "two": {"f1_score": "f1_score_element_{}", "f1_score_1": "f1_score_1_{}"},
    "matrix": {"confusion": "confusion_{}_{}"},
    "large": {"confusion": None},
    "variable": {},
}


def by_name(logs: dict[str, Any], names: dict[str, str | None]) -> dict[str, float]:
    """Keras' logs, with the names that each element is to have."""
    found: dict[str, float] = {}
    for name, value in logs.items():
        array = np.asarray(value)
        found[name] = float(array.mean())
        form = names.get(name)
        if form is not None:
            found |= {form.format(*index): float(array[index]) for index in np.ndindex(array.shape)}
    return found


@pytest.mark.parametrize(
    ("mode", "metric"),
    [
        slow("sync", "f1"),
        slow("async", "f1"),
        ("sync", "variable"),
        slow("sync", "matrix"),
        slow("sync", "two"),
        slow("async", "large"),
    ],
)
def test_they_are_those_of_fit(mode: str, metric: str, tmp_path: Path) -> None:
    import keras

    job_class = load_job_class("vectors.py:Vectors", str(JOBS))
    job = job_class(validate_params(job_class, {"metric": metric}))
    context, seen = DataContext(BATCH), []
    keras.utils.set_random_seed(0)
    model = job.build_model()
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(dict(logs)))
    # An epoch per step, so that the running values are those of each step.
    model.fit(job.train_dataset(context), epochs=STEPS, steps_per_epoch=1, callbacks=[keep], verbose=0)
    expected = {f"val_{k}": v for k, v in by_name(evaluated(model, job, context), NAMES[metric]).items()}

    trained = train(
        "vectors.py:Vectors",
        mode=mode,
        workers=1,
        batch_size=BATCH,
        samples=STEPS * BATCH,
        steps_per_call=1,
        params={"metric": metric},
        folder=tmp_path,
        target="val_f1_score>=2" if metric == "two" else None,  # of a vector, the mean is what a target names
    )[0]

    assert len(trained.batches) == len(seen) == STEPS
    for batch, logs in zip(trained.batches, seen, strict=True):
        assert dict(batch.logs) == pytest.approx(by_name(logs, NAMES[metric]), rel=1e-5, abs=1e-6)
    final = next(one for one in trained.evaluations if one.stamp.final)
    assert dict(final.metrics) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    with (tmp_path / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6)


def evaluated(model: Any, job: Any, context: DataContext) -> dict[str, Any]:
    logs: dict[str, Any] = model.evaluate(job.eval_dataset(context), return_dict=True, verbose=0)
    return logs
