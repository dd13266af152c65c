"""The job that `regatta init` writes learns its task: one process, plain Keras, in a child."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from orchestrator.cli.scaffold import write_job

TRAIN = """
import json
import keras
from boats import MyJob
from jobs.api import DataContext

keras.utils.set_random_seed(1)
job, context = MyJob(), DataContext(batch_size=MyJob.defaults["batch_size"], seed=1)
epochs = MyJob.defaults["samples"] // 4_000 // 2
model = job.build_model()
model.fit(job.train_dataset(context), epochs=epochs, verbose=0)
print(json.dumps(model.evaluate(job.eval_dataset(context), verbose=0, return_dict=True)))
"""


def test_the_target_is_reached_in_half_the_budget(tmp_path: Path) -> None:
    write_job(tmp_path / "boats.py")
    child = subprocess.run(
        [sys.executable, "-c", TRAIN], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1])["accuracy"] > 0.9
