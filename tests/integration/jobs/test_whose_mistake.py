"""Mistakes in code and data are the user's, with the user's words, in both modes; none is called another worker's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.local_runs import ApartGroup, Broken, KeepingGroup, train
from tests.marked import slow
from workers.messages import FailureKind, TaskFailure

UPDATES = ("update_step", "apply", "schedule", "constraint", "clipped")
"""Places within an optimizer's update."""
WORDS = "add it to the table in optimizer.yaml"
SHORT: dict[str, Any] = {"batch_size": 16, "samples": 16 * 60}
PAIRS = [("sync", 2), ("async", 2)]


def failure(job: str, kind: type[KeepingGroup] = KeepingGroup, **fields: Any) -> TaskFailure:
    with pytest.raises(Broken) as broken:
        train(f"failing.py:{job}", kind=kind, **SHORT, **fields)
    return broken.value.cause


FAST_UPDATES = [("sync", 2, "update_step"), ("async", 1, "schedule")]
SLOW_UPDATES = [("sync", 1, "clipped"), *((*group, where) for group in PAIRS for where in UPDATES[1:4])]


@pytest.mark.parametrize(
    ("mode", "workers", "where"),
    [*FAST_UPDATES, *(slow(*case) for case in SLOW_UPDATES if case not in FAST_UPDATES)],
)
def test_an_error_in_an_optimizers_update_comes_with_the_users_traceback(mode: str, workers: int, where: str) -> None:
    cause = failure("Failing", mode=mode, workers=workers, params={"where": where})
    assert cause.kind is FailureKind.USER
    assert cause.summary == f"ValueError: no rule for this variable: {WORDS}"
    assert cause.traceback.count(WORDS) == 1
    assert cause.traceback.count("in fail\n") == 1
    assert "autograph" not in cause.traceback
    assert "site-packages/tensorflow/python/distribute" not in cause.traceback


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "workers"), PAIRS)
@pytest.mark.parametrize("where", ["gradient", "metric", "regularizer"])
def test_so_does_one_in_another_part_of_the_step(mode: str, workers: int, where: str) -> None:
    cause = failure("Failing", mode=mode, workers=workers, params={"where": where})
    assert cause.kind is FailureKind.USER
    assert cause.summary == f"ValueError: no rule for this variable: {WORDS}"
    assert cause.traceback.count("in fail\n") == 1


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_model_that_needs_eager_steps_gets_a_hint(mode: str) -> None:
    cause = failure("Failing", mode=mode, workers=1, params={"where": "eager"})
    assert cause.kind is FailureKind.USER
    assert "run_eagerly=True" in cause.hint


DATA = {
    "assertion": "assertion failed",
    "reshape": "Input to reshape is a tensor with 256 values",
    "step": "my check : Tensor had NaN values",
    "value": "ValueError: failed to connect to all addresses of my cache",
    "key": "KeyError: 'no such word'",
    "unavailable": "UnavailableError: my service has no such record",
    "aborted": "AbortedError: my transaction failed",
    "reset": "ConnectionResetError: Connection reset by peer",
}
"""TensorFlow's kinds of errors, raised at one worker's fifth batch."""
SLOW_DATA = [
    *(("sync", 2, kind) for kind in DATA if kind not in ("reset", "key", "step")),
    *(("async", 2, kind) for kind in ("assertion", "unavailable", "aborted")),
]
FAST_DATA = [("sync", 2, "reset")]


@pytest.mark.parametrize(
    ("mode", "workers", "kind"),
    [*FAST_DATA, *(slow(*case) for case in SLOW_DATA)],
)
def test_an_error_of_the_data_or_the_step_is_the_users(mode: str, workers: int, kind: str) -> None:
    cause = failure("Data", mode=mode, workers=workers, params={"kind": kind})
    assert cause.kind is FailureKind.USER
    assert DATA[kind] in cause.summary


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset", "value"])
def test_so_it_is_of_workers_on_other_hosts(kind: str) -> None:
    cause = failure("Data", ApartGroup, mode="sync", workers=2, params={"kind": kind})
    assert cause.kind is FailureKind.USER
    assert DATA[kind] in cause.summary


def test_a_collective_of_varying_shape_is_named_and_not_called_a_lost_peer() -> None:
    cause = failure("Collective", ApartGroup, mode="sync", workers=2, steps_per_call=5)
    assert cause.kind is FailureKind.USER
    assert "Shape mismatch in the collective" in cause.summary
    assert "Pad it to a fixed shape" in cause.hint


REFUSED = {
    "stateful": "the layer 'remembers' is stateful",
    "stateful_inside": "the layer 'remembers' is stateful",
    "accumulation": "gradient_accumulation_steps=2 does not work with several replicas in mode",
    "overwrite": "ema_overwrite_frequency=3 does not work with several replicas in mode",
    "empty_shard": "train_dataset ",
    "own_fit": "Own has a `fit` of its own",
    "own_train_function": "Compiled has a `make_train_function` of its own",
}
FAST_REFUSED = [("sync", "own_fit"), ("async", "stateful"), ("async", "accumulation"), ("async", "empty_shard")]


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        *FAST_REFUSED,
        *(slow("sync", what) for what in REFUSED if ("sync", what) not in FAST_REFUSED),
    ],
)
def test_what_several_workers_cannot_train_is_refused(mode: str, what: str) -> None:
    cause = failure("Refused", mode=mode, workers=2, params={"what": what})
    assert cause.kind is FailureKind.SPEC
    assert REFUSED[what] in cause.summary
