"""Variants whose params make other models are scored each with its own, also where their weights have equal shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import regatta

JOB = '''
import keras
import numpy as np
import tensorflow as tf

from jobs.api import Job


class Told(Job):
    """Its evaluation tells the param that the model was built with."""

    class Params(Job.Params):
        told: float = 1.0

    defaults = {"samples": 64, "batch_size": 16}

    def build_model(self):
        told = self.params.told
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[keras.metrics.MeanMetricWrapper(lambda y, p: 0 * p + told, name="told")])
        return model

    def train_dataset(self, context):
        return tf.data.Dataset.from_tensor_slices((np.ones((32, 2)), np.ones((32, 1)))).batch(context.batch_size)

    def eval_dataset(self, context):
        return self.train_dataset(context)
'''


@pytest.mark.slow
def test_each_variant_by_its_own_params(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(JOB)
    varied = ["--modes", "single", "--vary", "params.told=1,2"]
    done = regatta("compare", "told.py:Told", *varied, "--seeds", "1", "--backend", "local", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    told = {}
    for result in folder.glob("runs/*/result.json"):
        document = json.loads(result.read_text())
        told[document["variant"]] = document["final"]["val_told"]
    assert len(told) == 2
    assert all(value == (2.0 if "told=2" in name else 1.0) for name, value in told.items()), told
