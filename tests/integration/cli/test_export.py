"""The model that a run leaves behind, and its export: plain Keras and plain TensorFlow load it without Regatta."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import regatta

SAVED = """
import json, sys
import keras, numpy as np, tensorflow as tf

images = np.random.default_rng(0).random((5, 64), np.float32)
whole = keras.saving.load_model(sys.argv[1])
served = tf.saved_model.load(sys.argv[2]).signatures["serving_default"]
(output,) = served(**{next(iter(served.structured_input_signature[1])): tf.constant(images)}).values()
copied = keras.saving.load_model(sys.argv[1])
copied.set_weights([0 * weight for weight in copied.get_weights()])
copied.load_weights(sys.argv[3])
expected = whole(images)
print(json.dumps([float(np.abs(expected - other).max()) for other in (output, copied(images))]))
"""
CUSTOM = """
import keras
from jobs.digits import Digits


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


class Mine(Digits):
    def build_model(self):
        model = super().build_model()
        whole = keras.Sequential([*model.layers[:-1], Doubled(), model.layers[-1]])
        whole.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return whole
"""
SHORT = ("--backend", "local", "--samples", "1600", "--target", "val_accuracy>=2")


def test_three_formats_predict_the_same(tmp_path: Path) -> None:
    done = regatta("run", "digits", *SHORT, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Model: run/model.keras" in done.stdout.splitlines()
    written = []
    for name in ("keras", "savedmodel", "weights"):
        exported = regatta("export", "run", "--format", name, cwd=tmp_path)
        assert exported.returncode == 0, exported.stderr
        written.append(tmp_path / exported.stdout.strip())
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", SAVED, *map(str, written)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert json.loads(loaded.stdout) == pytest.approx([0, 0], abs=1e-6)
    again = regatta("export", "run", cwd=tmp_path)
    assert again.returncode == 2
    assert "run/export/model.keras exists already" in again.stderr


@pytest.mark.slow
def test_a_layer_of_the_users_own_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CUSTOM)
    done = regatta("run", "mine.py:Mine", *SHORT, "--out", "run", "--mode", "async", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    exported = regatta("export", "run", "--format", "savedmodel", cwd=tmp_path)
    assert exported.returncode == 2, exported.stderr
    assert "it uses Doubled, which is not a part of Keras" in exported.stderr
    assert "register_keras_serializable" in exported.stderr
    assert not (tmp_path / "run" / "export" / "saved_model").exists()


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "spec.yaml").write_text("job: digits")
    for arguments, words in [
        (("runs/a",), "runs/a has no model.keras: a run writes it when its training ends"),
        (("runs/b",), "runs/b is not the folder of a run"),
        (("runs/a", "--format", "onnx"), "--format: 'onnx' is not allowed: keras, savedmodel, weights"),
    ]:
        done = regatta("export", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
