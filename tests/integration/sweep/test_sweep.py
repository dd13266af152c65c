"""`regatta sweep` with real processes: groups that trials share, rates that they train with, Ctrl-C and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import regatta
from tests.integration.ray_nodes import REGATTA

ONE = ("--mode", "single", "--backend", "local")
RATES = ("--param", "learning_rate=log:1e-4..1e-1")


def test_trials_of_one_group_train_with_rates_of_their_own(tmp_path: Path) -> None:
    sizes = ("--param", "batch_size=16,32")
    budget = ("--samples", "3200", "--trials", "4", "--no-prune")
    done = regatta("sweep", "digits", *ONE, *RATES, *sizes, *budget, "--out", "s", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [trial["state"] for trial in document["trials"]] == ["finished"] * 4
    for trial in document["trials"]:
        run = json.loads((tmp_path / "s" / "runs" / trial["run_id"] / "result.json").read_text())
        assert run["learning_rate"] == pytest.approx(trial["params"]["learning_rate"], rel=1e-5)
        assert run["samples_per_update"] == trial["params"]["batch_size"]
        assert run["final"]["val_accuracy"] == trial["value"]
    best = max(document["trials"], key=lambda trial: trial["value"])
    assert document["trials"][document["best"]]["value"] == best["value"]
    assert "trial 3 (4 of 4 ended)" in done.stderr


@pytest.mark.slow
def test_a_sweep_of_models_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    """The evaluator of each trial has the trial's model."""
    arguments = (
        "sweep",
        "digits",
        *ONE,
        *RATES,
        "--param",
        "hidden=16,32",
        "--samples",
        "64000",
        "--trials",
        "3",
        "--no-prune",
    )
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*REGATTA, *arguments, "--out", "s"], cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL, stderr=errors
        )
        deadline = time.monotonic() + 300
        while "1 of 3 ended" not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()
    assert "`regatta resume s` continues it" in log.read_text()
    resumed = regatta("resume", "s", "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    document = json.loads(resumed.stdout)
    assert [trial["state"] for trial in document["trials"]] == ["finished"] * 3
    assert "of 3 trials ended" in regatta("report", "s", cwd=tmp_path).stdout
    again = regatta("run", "s/best.yaml", "--backend", "local", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["final"]["val_accuracy"] == document["trials"][document["best"]]["value"]


SCRIPT = """
import argparse
import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--units", type=int, default=8)
parser.add_argument("--batch", type=int, default=64)
given = parser.parse_args()
x = np.random.default_rng(0).normal(size=(640, 4)).astype("float32")
y = x.sum(axis=1) > 0
model = keras.Sequential([keras.layers.Dense(given.units, activation="relu"), keras.layers.Dense(2)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(given.lr), loss, metrics=["accuracy"])
model.fit(x, y, batch_size=given.batch, epochs=2, validation_split=0.2, verbose=0)
print("trained with", given.lr, given.units)
"""


def test_arguments_of_a_script(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    arguments = ("--param", "lr=log:1e-3..1e-1", "--trials", "2", "--metric", "val_accuracy", "--out", "s")
    done = regatta("sweep", "train.py", *ONE, *arguments, "--json", "--", "--lr", "{lr}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [trial["state"] for trial in document["trials"]] == ["finished"] * 2
    assert len({trial["params"]["lr"] for trial in document["trials"]}) == 2
    for trial in document["trials"]:
        run = tmp_path / "s" / "runs" / trial["run_id"]
        assert f"trained with {trial['params']['lr']} 8" in (run / "logs" / "worker-0.log").read_text()
        assert json.loads((run / "result.json").read_text())["learning_rate"] == pytest.approx(trial["params"]["lr"])
    best = document["trials"][document["best"]]["params"]["lr"]
    assert f"'{best}'" in (tmp_path / "s" / "best.yaml").read_text()

    sizes = ("--param", "batch=16,64", "--", "--lr=1", "--batch={batch}")
    refused = regatta("sweep", "train.py", *ONE, *sizes, cwd=tmp_path)
    assert refused.returncode == 2
    assert "another batch size or other epochs" in refused.stderr


def test_an_unknown_parameter_is_refused_before_anything_is_launched(tmp_path: Path) -> None:
    refused = regatta("sweep", "digits", "--param", "hiden=16,32", cwd=tmp_path)
    assert refused.returncode == 2
    assert "Did you mean hidden?" in refused.stderr
    assert not list(tmp_path.iterdir())
