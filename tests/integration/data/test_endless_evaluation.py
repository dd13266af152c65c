"""Evaluation data that never end: refused at once where it is known, else after a while, or cut by `eval_steps`."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, Broken, train
from tests.marked import slow
from workers.data import counting
from workers.data.stream import samples_per_epoch
from workers.errors import DataError
from workers.messages import FailureKind
from workers.model.scores import scores

SHORT: dict[str, Any] = {"mode": "sync", "workers": 1, "batch_size": 16, "samples": 512, "eval_every": 512}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("repeat", "eval_dataset never ends"),
        slow("generator", "eval_dataset has not ended after"),
        slow("from_tensors", "eval_dataset never ends"),
        slow("interleaved", "eval_dataset has not ended after"),
    ],
)
def test_it_is_a_mistake_in_the_spec_that_names_the_remedy(how: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(Broken) as broken:
        train("endless.py:EndlessEvaluation", **SHORT, params={"how": how}, folder=tmp_path, launch_timeout=30.0)
    assert broken.value.cause.kind is FailureKind.SPEC
    assert words in broken.value.cause.summary
    assert "--eval-steps" in broken.value.cause.summary


@pytest.mark.parametrize("how", ["generator", slow("filter")])
def test_eval_steps_are_the_batches_of_an_evaluation(how: str, tmp_path: Path) -> None:
    """Of the evaluator's, and of those for callbacks."""
    trained = train("endless.py:EndlessEvaluation", **SHORT, params={"how": how}, folder=tmp_path, eval_steps=3)[0]
    job = loaded("EndlessEvaluation", how)
    model = job.build_model()
    model.set_weights(trained.final.weights)
    expected = model.evaluate(job.eval_dataset(DataContext(16)), steps=3, return_dict=True, verbose=0)
    final = next(one for one in trained.evaluations if one.stamp.final)
    assert final.metrics["val_loss"] == pytest.approx(expected["loss"], rel=1e-5)
    with (tmp_path / "log.csv").open() as file:
        assert float(next(csv.DictReader(file))["val_loss"]) == pytest.approx(expected["loss"], rel=1e-5)


def test_samples_of_training_data_without_end_are_not_counted_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "COUNTING_SECONDS", 0.2)
    with pytest.raises(DataError, match=r"train_dataset has not ended after .* set samples_per_epoch"):
        samples_per_epoch(loaded("EndlessTraining", "generator"), 16)


def loaded(name: str, how: str) -> Any:
    job_class = load_job_class(f"endless.py:{name}", str(JOBS))
    return job_class(validate_params(job_class, {"how": how}))


def test_data_of_unknown_size_that_end_are_no_news() -> None:
    """Keras warns of them that they "ran out", in every evaluation."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse")
    ones = tf.ones([4, 1])
    dataset = tf.data.Dataset.from_tensor_slices((ones, ones)).batch(2).filter(lambda *_: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scores(model, dataset, []) == {"loss": 1.0}
