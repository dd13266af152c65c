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
whole = keras.saving.load_model(sys.argv[1], compile=False)
served = tf.saved_model.load(sys.argv[2]).signatures["serving_default"]
(output,) = served(**{next(iter(served.structured_input_signature[1])): tf.constant(images)}).values()
copied = keras.saving.load_model(sys.argv[1], compile=False)
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


def differences(*paths: Path, cwd: Path) -> list[float]:
    """How far a SavedModel, and a model with exported weights, are from a .keras file on the same inputs."""
    command = [sys.executable, "-P", "-c", SAVED, *map(str, paths)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    found: list[float] = json.loads(loaded.stdout)
    return found


def exported(cwd: Path, *arguments: str) -> Path:
    done = regatta("export", "run", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / done.stdout.strip()


def test_three_formats_predict_the_same(tmp_path: Path) -> None:
    done = regatta("run", "digits", *SHORT, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Model: run/model.keras" in done.stdout.splitlines()
    written = [exported(tmp_path, "--format", name) for name in ("keras", "savedmodel", "weights")]
    assert differences(*written, cwd=tmp_path) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.slow
def test_the_state_at_a_step(tmp_path: Path) -> None:
    done = regatta("run", "digits", *SHORT, "--checkpoint-every", "10", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = exported(tmp_path)
    again = regatta("export", "run", cwd=tmp_path)
    assert again.returncode == 2
    assert "run/export/model.keras exists already" in again.stderr

    steps = sorted(int(path.name[:10]) for path in (tmp_path / "run" / "checkpoints").glob("*-1"))
    last = exported(tmp_path, "--step", str(steps[-1]), "--format", "savedmodel", "--out", "last")
    earlier = exported(tmp_path, "--step", str(steps[0]), "--format", "weights", "--out", "earlier.weights.h5")
    as_at_the_end, other = differences(whole, last, earlier, cwd=tmp_path)
    assert as_at_the_end < 1e-6
    assert other > 1e-3
    refused = regatta("export", "run", "--step", "7", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"no checkpoint of step 7. It has those of step {steps[0]}" in refused.stderr


@pytest.mark.slow
def test_the_best_state_without_a_model_file_is_built_by_the_job(tmp_path: Path) -> None:
    done = regatta("run", "digits", *SHORT, "--mode", "async", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = exported(tmp_path, "--best", "--out", "best.keras")
    weights = exported(tmp_path, "--best", "--format", "weights", "--out", "best.weights.h5")
    (tmp_path / "run" / "model.keras").unlink()
    built = exported(tmp_path, "--best", "--format", "savedmodel", "--out", "built")
    assert differences(best, built, weights, cwd=tmp_path) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.slow
def test_a_layer_of_the_users_own_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CUSTOM)
    done = regatta("run", "mine.py:Mine", *SHORT, "--out", "run", "--mode", "async", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused = regatta("export", "run", "--format", "savedmodel", cwd=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert "it uses Doubled, which is not a part of Keras" in refused.stderr
    assert "register_keras_serializable" in refused.stderr
    assert not (tmp_path / "run" / "export" / "saved_model").exists()
    by_the_job = regatta("export", "run", "--best", "--format", "savedmodel", "--out", "best", cwd=tmp_path)
    assert by_the_job.returncode == 0, by_the_job.stderr
    assert (tmp_path / "best" / "saved_model.pb").is_file()


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
