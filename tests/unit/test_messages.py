"""Every message between driver, supervisor and task is frozen and survives pickling."""

from __future__ import annotations

import dataclasses
import pickle
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.made import assignment, leg
from workers import messages, news, wire
from workers.messages import (
    Checkpointing,
    Counts,
    FailureKind,
    FitEnded,
    Printed,
    Start,
    Taken,
    Task,
    TaskFailure,
    Waits,
)
from workers.news import (
    CallTiming,
    CheckpointFailed,
    CheckpointWritten,
    Deciding,
    Evaluation,
    GpuSample,
    HostSample,
    LegFinished,
    LegStarted,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Stamp,
    StepBatch,
    Vitals,
)
from workers.settings import ReplicaSettings
from workers.snapshot import Snapshot

pytestmark = pytest.mark.unit

W0 = Task("worker", 0)
STAMP = Stamp("r", 10, 640, 0.5, final=True)
CHECKPOINTS = Checkpointing("s3://bucket/r", 2)
START = Start(10, 640, 0.5, 0.5, 0.5, (Taken(2, (10, 10)),))
LEG = leg(start=START, checkpoints=CHECKPOINTS)
BATCH = StepBatch("r", 0, np.arange(3), np.arange(3.0), np.ones(3), np.zeros(3), 0.1, {"loss": 1.0})
FAILURE = TaskFailure(W0, FailureKind.USER, "KeyError: 'x'", "Traceback ...", "try this")
GPU = GpuSample("GPU-1", None, 1.0, 2, 3, None, None, None)
SAMPLE = HostSample(1.0, None, 2, None, None, None, None, None, None, (GPU,), ("a note",))
EVALUATION = Evaluation(STAMP, {"val_loss": 1.0}, 0.1)
TIMING = CallTiming("r", 0, 10, 5, 0.5, 0.1, 0.1, None, 0.01, 0.0)
WRITTEN = CheckpointWritten("r", 1, 10, 640, 0.5, "0000000010-1", 1 << 20, 0.1)
NOT_WRITTEN = CheckpointFailed("r", 1, 20, "no room", fenced=False)
DECIDING, VITALS = Deciding("r", begins=True), Vitals("S", 1.5)
STARTED, FINISHED = LegStarted("r", 10, 64, 5), LegFinished("r", 10, 640, 0.5, None, 10, {"train": 0.5})
SNAPSHOT = Snapshot(10, 640, 0.5, (np.ones((2, 2), np.float32),), (np.array(3, np.int64),))
EXAMPLES: list[Any] = [
    assignment(W0, {"cluster": {"worker": ["a:1"]}}, params={"hidden": 3}),
    LEG,
    STAMP,
    BATCH,
    FAILURE,
    GPU,
    SAMPLE,
    EVALUATION,
    STARTED,
    FINISHED,
    ReplicaStatus(
        W0,
        ReplicaState.FAILED,
        (STARTED, BATCH, SnapshotReady(STAMP), EVALUATION, TIMING, DECIDING, WRITTEN, NOT_WRITTEN, FINISHED, SAMPLE),
        FAILURE,
        7,
        b"log",
        vitals=VITALS,
    ),
    SnapshotReady(STAMP),
    TIMING,
    DECIDING,
    VITALS,
    wire.Train(LEG),
    START,
    CHECKPOINTS,
    WRITTEN,
    NOT_WRITTEN,
    wire.Score(STAMP, SNAPSHOT),
    wire.StopLeg("target", 1),
    Waits(W0, "in f (job.py:1: f())"),
    Printed("a line\n"),
    FitEnded(b"state"),
    Counts(updates=10, dropped_gradients=2),
    wire.ReleaseAddress(),
    wire.AddressReleased(),
    wire.Ready(),
    wire.SnapshotTaken(STAMP, SNAPSHOT, keep=True),
    wire.Preempted(),
]


def classes(module: ModuleType) -> set[type]:
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and not issubclass(value, Enum | tuple)
    }


def test_there_is_an_example_of_each_message() -> None:
    assert {type(example) for example in EXAMPLES} == classes(messages) | classes(news) | classes(wire)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_a_message_is_frozen_and_pickles(example: Any) -> None:
    assert dataclasses.is_dataclass(example)
    assert type(example).__dataclass_params__.frozen  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(example))
    assert type(copy) is type(example)
    assert repr(copy) == repr(example)  # `==` on arrays gives an array


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_fields_hold_plain_data(example: Any) -> None:
    """Plain values, lists, mappings, arrays and messages: no function, file, tensor or exception."""
    allowed = (type(None), bool, int, float, str, bytes, dict, list, tuple, np.ndarray)
    stack = [example]
    while stack:
        value = stack.pop()
        if dataclasses.is_dataclass(value):
            stack += [getattr(value, field.name) for field in dataclasses.fields(value)]
        elif isinstance(value, ReplicaSettings):
            stack += [getattr(value, name) for name in type(value).model_fields]
        else:
            assert isinstance(value, allowed), value
            stack += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()


def test_stamps_and_tasks_are_the_same_key_on_both_sides() -> None:
    for key in (STAMP, W0):
        copy = pickle.loads(pickle.dumps(key))
        assert copy is not key
        assert {key: 1}[copy] == 1
    assert {W0: 1}[Task("worker", 0)] == 1
    assert dataclasses.replace(STAMP, final=False) != STAMP


def test_states_and_kinds_read_as_their_values() -> None:
    assert f"{ReplicaState.READY}" == "ready"
    assert f"{FailureKind.ADDRESS_TAKEN}" == "address_taken"
    assert pickle.loads(pickle.dumps(FailureKind.PEER)) is FailureKind.PEER


def test_a_snapshot_tells_its_size_and_whether_it_is_finite() -> None:
    assert SNAPSHOT.nbytes == 16 + 8
    assert SNAPSHOT.is_finite()
    for bad in (np.nan, np.inf):
        broken = dataclasses.replace(SNAPSHOT, optimizer=(np.array([1.0, bad]),))
        assert not broken.is_finite()
