"""Error messages for mistakes in a job's data, labels, files, callbacks or training step."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local_runs import JOBS, Broken, train
from tests.integration.processes import all_gone
from tests.marked import slow
from workers.messages import FailureKind, TaskFailure


def failure(job: str, mode: str = "sync", **params: Any) -> TaskFailure:
    with pytest.raises(Broken) as broken:
        train(f"misfits.py:{job}", mode=mode, workers=2, batch_size=16, samples=3_200, params=params)
    return broken.value.cause


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """200 records, one of which has another length than its checksum says."""
    import tensorflow as tf

    path = tmp_path / "damaged.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(200):
            floats = tf.train.FloatList(value=[float(number)] * 16)
            feature = {"x": tf.train.Feature(float_list=floats)}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    data = bytearray(path.read_bytes())
    data[150 * (len(data) // 200)] ^= 0xFF
    path.write_bytes(data)
    return path


def test_shapes_that_do_not_fit_name_the_layer_and_both_shapes() -> None:
    cause = failure("WrongShape")
    assert cause.kind is FailureKind.USER
    assert "layer 'dense' is incompatible" in cause.summary
    assert "value 16" in cause.summary
    assert "float32[16, 8]" in cause.hint


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_label_out_of_range_is_named_with_the_range(mode: str) -> None:
    cause = failure("Labels", mode)
    assert cause.kind is FailureKind.USER
    assert "label value of 12 which is outside the valid range of [0, 10)" in cause.summary
    assert "number of the model's outputs" in cause.hint
    assert len(cause.traceback) < 8_000


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_train_step_without_a_loss(mode: str) -> None:
    cause = failure("NoLoss", mode)
    assert cause.kind is FailureKind.SPEC
    assert "Silent.train_step returned NoneType" in cause.summary
    assert 'return {"loss": loss, ...}' in cause.summary


def test_a_file_that_is_not_there() -> None:
    cause = failure("Files", path="/none.tfrecord", kind="tf")
    assert cause.summary == "NotFoundError: /none.tfrecord; No such file or directory"
    assert "on its own host" in cause.hint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "params", "code", "words"),
    [
        ("misfits.py:Files", ["path={damaged}"], 2, ["damaged.tfrecord: damaged at byte", "(record 150)"]),
        ("called.py:Called", ["set=raising"], 3, ["ZeroDivisionError", "of the callback LambdaCallback", "worker:0"]),
    ],
)
def test_the_command_ends_with_its_code_and_leaves_nothing_running(
    cli: Any, tmp_path: Path, damaged: Path, job: str, params: list[str], code: int, words: list[str]
) -> None:
    mark = uuid.uuid4().hex
    settings = [part for param in params for part in ("--set", param.format(damaged=damaged))]
    done = cli(
        "run", JOBS / job, "--samples", "3200", "--batch-size", "16", "--out", "run", *settings, REGATTA_TEST=mark
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
    assert all_gone(mark) == {}


def test_missing_data_are_told_before_anything_starts(cli: Any, tmp_path: Path) -> None:
    done = cli(
        "run",
        "mnist-cnn",
        "--out",
        "run",
        KERAS_HOME=str(tmp_path / "keras"),
        https_proxy="http://127.0.0.1:9",
        no_proxy="",
    )
    assert done.returncode == 2
    assert f"mnist.npz as {tmp_path / 'keras' / 'datasets' / 'mnist.npz'}" in done.stderr
    assert "--set data=synthetic" in done.stderr
    assert not (tmp_path / "run").exists()
