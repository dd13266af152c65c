"""Failures that a real replica reports for mistakes in the user's code."""

from __future__ import annotations

import pytest

from tests.integration.local_runs import Broken, train
from tests.marked import slow
from workers.messages import FailureKind

SHORT = {"mode": "sync", "workers": 1, "batch_size": 64, "samples": 6400}


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("NotCompiled", "not compiled"),
        ("Empty", "dataset is empty"),
        ("NotBatched", "is not batched"),
    ],
)
def test_a_job_that_does_not_fit_is_a_mistake_in_the_spec(job: str, words: str) -> None:
    with pytest.raises(Broken) as broken:
        train(f"broken.py:{job}", **SHORT)
    assert broken.value.cause.kind is FailureKind.SPEC
    assert words in broken.value.cause.summary


def test_a_metric_that_is_not_reported_is_named_with_those_that_are() -> None:
    with pytest.raises(Broken) as broken:
        train("exact.py", **SHORT, target="val_mea<=0.5")
    assert broken.value.cause.kind is FailureKind.SPEC
    assert "'val_mea'" in broken.value.cause.summary
    assert "Did you mean val_mae?" in broken.value.cause.summary
    assert "val_loss, val_mae" in broken.value.cause.summary


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_users_exception_comes_with_the_users_frames(mode: str) -> None:
    with pytest.raises(Broken) as broken:
        train("broken.py:RaisesInModel", **SHORT | {"mode": mode})
    cause = broken.value.cause
    assert cause.kind is FailureKind.USER
    assert cause.summary == "RuntimeError: no such layer in this house"
    assert 'raise RuntimeError("no such layer in this house")' in cause.traceback
    assert "workers/" not in cause.traceback.replace(__file__, "")


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_an_exception_while_training_is_the_users(mode: str) -> None:
    with pytest.raises(Broken) as broken:
        train("broken.py:RaisesInTraining", **SHORT | {"mode": mode, "workers": 2})
    assert broken.value.cause.kind is FailureKind.USER
    assert "the disk with the data went away" in broken.value.cause.summary + broken.value.cause.traceback
