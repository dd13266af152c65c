"""A job whose metrics have names that harm what shows them: it trains, and every output has them cleaned."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.security.conftest import unseen

JOB = """
import keras
import numpy as np
from jobs.api import Job

WORST = {"../../up": 0.25, "\\x1b]0;owned\\x07": 0.5, "a\\nb": 1.0, "a\\rb": 2.0, "m" * 5000: 3.0, "<b>|x": 4.0}


class Named(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, batch):
        return super().train_step(batch) | {name: keras.ops.convert_to_tensor(v) for name, v in WORST.items()}

    def test_step(self, batch):
        return super().test_step(batch) | {name: keras.ops.convert_to_tensor(v) for name, v in WORST.items()}


class Hostile(Job):
    def build_model(self):
        model = Named()
        model.compile("sgd", "mse")
        return model

    def train_dataset(self, context):
        import tensorflow as tf
        x = np.ones((64, 3), np.float32)
        return tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(context.batch_size, drop_remainder=True)

    eval_dataset = train_dataset
"""
CLEANED = {"_/_/up": 0.25, "_]0;owned_": 0.5, "a_b": 1.0, "a_b_2": 2.0, "m" * 200: 3.0, "<b>|x": 4.0}
VALIDATED = {f"val_{name}"[:200]: value for name, value in CLEANED.items()} | {"val_../_/up": 0.25}


@pytest.mark.slow
def test_they_are_cleaned_in_every_output(cli: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "mine.py").write_text(JOB)
    done = cli("run", "mine.py:Hostile", "--backend", "local", "--batch-size", "16", "--samples", "1600", "--workers",
               "1", "--out", "run", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not unseen(done.stderr)
    final = json.loads(done.stdout)["final"]
    assert {name: value for name, value in final.items() if name not in ("loss", "val_loss")} == {
        name: value for name, value in VALIDATED.items() if name != "val__/_/up"
    }
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "metrics.db")) as metrics:
        logs = json.loads(metrics.execute("SELECT logs FROM calls").fetchone()[0])
    assert {name: value for name, value in logs.items() if name not in ("loss", "learning_rate")} == CLEANED
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {f"train/{name}" for name in CLEANED} <= set(events.Tags()["scalars"])
    said = (tmp_path / "run" / "logs" / "worker-0.log").read_text()
    assert "regatta: the metric 'a\\nb' is reported as a_b\n" in said
    assert cli("report", "run").returncode == 0
