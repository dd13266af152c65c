"""What of a script cannot be carried is refused before training, by the argument's name; what is said meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.spec import job_description
from orchestrator.spec.job_description import describe_job, tell

HEAD = """
import keras
import numpy as np
import tensorflow as tf
x, y = np.zeros((64, 4), "float32"), np.zeros((64, 1), "float32")
data = tf.data.Dataset.from_tensor_slices((x, y))
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
def batches():
    while True:
        yield x[:8], y[:8]
class Endless(keras.utils.PyDataset):
    num_batches = None
    def __getitem__(self, index):
        return x[:8], y[:8]
"""
REFUSED = {
    "model.fit(data)": "x is a dataset that is not batched",
    "model.fit(data.batch(8).repeat())": "x is a dataset that never ends, so its epochs need steps_per_epoch",
    "model.fit(batches())": "x is a generator, whose epochs need steps_per_epoch",
    "model.fit(Endless())": "x is a PyDataset without an end, so its epochs need steps_per_epoch",
    "model.fit(x, y, validation_data=batches())": "validation_data is a generator, whose epochs need",
    "model.fit(x, y, validation_data=data)": "validation_data is a dataset that is not batched",
    "model.fit(data.batch(8).take(0))": "x is empty",
    "model.fit(x, y, epochs=2, initial_epoch=2)": "fit(epochs=2, initial_epoch=2) trains on nothing",
    "tf.distribute.MirroredStrategy().run(lambda: model.fit(x, y))": "MirroredStrategy.run",
    "keras.Sequential().build\nprint('no call of it')": "ended without calling fit",
    "model.fit(x, y, batches=3)": "got an unexpected keyword argument 'batches'",
}
OWN_CLUSTER = """
import json, os
os.environ.setdefault("TF_CONFIG", "{}")
workers = len(json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"])
strategy = tf.distribute.MultiWorkerMirroredStrategy()
assert (strategy.cluster_resolver.task_type, strategy.cluster_resolver.task_id) == ("worker", 0)
with strategy.scope():
    os.environ["TF_CONFIG"] = "theirs"
model.fit(x, y, batch_size=16 * workers)
"""
CHILD = """
import json, os, sys
from pathlib import Path
from jobs.describe import describe
found = []
for number, tail in enumerate(json.loads(sys.argv[2])):
    name = f"script_{number}.py"
    Path(sys.argv[1], name).write_text(sys.argv[3] + tail)
    found.append(describe(f"{name}:__main__", sys.argv[1], {}))
found.append(describe("both.py", sys.argv[1], {}))
os.environ["TF_CONFIG"] = "ours"
Path(sys.argv[1], "cluster.py").write_text(sys.argv[3] + sys.argv[4])
found.append(describe("cluster.py", sys.argv[1], {}))
assert os.environ["TF_CONFIG"] == "ours"
print("found", json.dumps(found))
"""


def test_what_cannot_be_carried_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "both.py").write_text("from jobs.api import Job\nclass Mine(Job): ...\nif False:\n    model.fit(1)\n")
    ran = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, tmp_path, json.dumps(list(REFUSED)), HEAD, OWN_CLUSTER],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("found ")]
    *answers, both, cluster = json.loads(line.removeprefix("found "))
    for words, answer in zip(REFUSED.values(), answers, strict=True):
        assert words in answer.get("message", ""), answer
        assert answer["error"] == ("user" if "unexpected" in words else "script")
    assert both["notes"] == [
        "both.py defines the job Mine and calls fit (both.py:4): the job is used. both.py:__main__ is the script"
    ]

    assert cluster["defaults"] == {"global_batch_size": 16, "epochs": 1, "earlier_fits": []}
    (named, left_out) = cluster["notes"]
    assert named.startswith("it names TF_CONFIG, and is given one of a single worker")
    assert left_out.startswith("its MultiWorkerMirroredStrategy is left out")


def test_a_script_that_takes_long_is_reported_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_description, "_SAY_SECONDS", 0.5)
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\nmodel.fit(1)")
    said: list[str] = []
    token = tell.set(said.append)
    try:
        with pytest.raises(UsageError, match=r"slow.py did not come to its fit, or was not loaded, in the 2 s"):
            describe_job("slow.py", str(tmp_path), {}, within=2)
    finally:
        tell.reset(token)
    assert said
    assert "slow.py is still being loaded, or on its way to fit, after" in said[0]
