"""Batches of varying shapes train in every mode, over the end of an epoch, or are refused before training."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integration.jobs_under_test.sentences import REFUSED, TRAINED
from tests.integration.local_runs import ApartGroup, Broken, KeepingGroup, train
from tests.marked import slow
from workers.messages import FailureKind

BATCH, STEPS = 32, 72
"""Two epochs and more for one worker."""
FAST = [("sync", 2, "padded", ApartGroup)]
CASES = [
    (mode, workers, how, group)
    for how in TRAINED
    for mode, workers, group in [
        ("sync", 2, KeepingGroup),
        ("sync", 2, ApartGroup),
        ("async", 2, KeepingGroup),
    ]
] + [("async", 1, "padded", KeepingGroup)]


@pytest.mark.parametrize(
    ("mode", "workers", "how", "group"), [*FAST, *(slow(*case) for case in CASES if case not in FAST)]
)
def test_they_train(mode: str, workers: int, how: str, group: type[KeepingGroup]) -> None:
    together = workers if mode == "sync" else 1
    trained = train(
        "sentences.py",
        kind=group,
        mode=mode,
        workers=workers,
        batch_size=BATCH,
        samples=STEPS * BATCH * together,
        params={"how": how},
    )[0]
    assert len(trained.losses) == STEPS
    if mode == "sync" or workers == 1:
        expected = in_one_process(together, how)
        np.testing.assert_allclose(trained.losses[: len(expected)], expected, rtol=1e-5)


def in_one_process(workers: int, how: str) -> list[float]:
    """Losses of the first epoch's full steps, by plain Keras."""
    import keras

    from jobs.api import DataContext
    from jobs.loading import load_job_class, validate_params
    from tests.integration.local_runs import JOBS

    job_class = load_job_class("sentences.py", str(JOBS))
    job = job_class(validate_params(job_class, {"how": how}))
    keras.utils.set_random_seed(0)
    model = job.build_model()
    losses = []
    for words, labels in job.train_dataset(DataContext(workers * BATCH)).take(1000 // (workers * BATCH)):
        model.reset_metrics()
        losses.append(model.train_on_batch(words, labels, return_dict=True)["loss"])
    return losses


@pytest.mark.parametrize(("mode", "workers"), [("sync", 2), slow("async", 1)])
def test_shapes_that_vary_late_are_refused_where_batches_have_to_be_joined(mode: str, workers: int) -> None:
    """Not seen in the first batches, they end training: as a mistake of the spec's, without another try."""
    samples = STEPS * BATCH * (workers if mode == "sync" else 1)
    with pytest.raises(Broken) as broken:
        train("sentences.py", mode=mode, workers=workers, batch_size=BATCH, samples=samples, params={"how": "late"})
    cause = broken.value.cause
    assert cause.kind is FailureKind.SPEC
    assert cause.summary.startswith("element[0] of train_dataset has batches of different shapes")
    assert cause.summary.endswith("drop_remainder=True, or pad to a fixed shape.")


@pytest.mark.parametrize(("mode", "how"), [("sync", "bucket"), slow("async", "mapped")])
def test_others_are_refused_before_training(mode: str, how: str) -> None:
    assert how in REFUSED
    with pytest.raises(Broken) as broken:
        train("sentences.py", mode=mode, workers=2, batch_size=BATCH, samples=STEPS * BATCH, params={"how": how})
    assert broken.value.cause.kind is FailureKind.SPEC
    assert "element[0] of train_dataset has batches of different shapes" in broken.value.cause.summary
    assert "padded_batch" in broken.value.cause.summary
