"""Regatta's modes `single` (one replica) and `sync` (more), and plain Keras on the same data, both in this one process.

    python -m tests.integration.side_by_side REPLICAS JOB.py ANSWER.json [PARAMS, as JSON]...

With two replicas, two logical CPUs stand for two devices of one worker (a MirroredStrategy). They can only be made
before TensorFlow starts, hence a process of its own, which serves many jobs one after another.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local_runs import JOBS

BATCH, STEPS, SEED = 16, 24, 3


def compare(replicas: int, job: str, params: Sequence[Mapping[str, Any]], answer: Path) -> list[dict[str, Any]]:
    """For each of `params`: `ours` and `plain`, each with `logs` (one dict per step) and `weights`; or `error`."""
    command = [sys.executable, "-P", "-m", "tests.integration.side_by_side", str(replicas), job, str(answer)]
    done = subprocess.run(
        [*command, *map(json.dumps, params)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: list[dict[str, Any]] = json.loads(answer.read_text())
    return answers


def asked_for(request: pytest.FixtureRequest, parameter: str) -> list[str]:
    """Values of `parameter` in the tests of this module that are to run, so that no others are computed."""
    items = [item for item in request.session.items if item.fspath == request.node.fspath]
    found = (getattr(item, "callspec", None) for item in items)
    return list(dict.fromkeys(spec.params[parameter] for spec in found if spec and parameter in spec.params))


def main(replicas: int, job: str, answer: Path, params: Iterable[str]) -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    share_one_strategy()
    answers = []
    for given in map(json.loads, params):
        try:
            answers.append({"ours": ours(job, given, replicas), "plain": plain(job, given, replicas)})
        except Exception as error:
            import traceback

            traceback.print_exc()
            answers.append({"error": f"{type(error).__name__}: {error}"[:2000]})
    answer.write_text(json.dumps(answers))


def share_one_strategy() -> None:
    """A second MirroredStrategy in one process would use the first one's collective keys again."""
    from workers.modes import sync

    sync.synchronous_strategy = cache(sync.synchronous_strategy)


def load(job: str, params: Mapping[str, Any]) -> Any:
    from jobs.loading import load_job_class, validate_params

    job_class = load_job_class(job, str(JOBS))
    return job_class(validate_params(job_class, params))


def ours(job: str, params: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    from tests.made import assignment, leg, settings
    from workers.messages import Task
    from workers.modes.mode import make_mode
    from workers.news import StepBatch
    from workers.training.loop import train
    from workers.training.trainer import Trainer
    from workers.wire import SnapshotTaken

    loaded = load(job, params)
    config = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
    fields = {"params": params, "batch_size": BATCH, "seed": SEED, "mode": "single" if replicas == 1 else "sync"}
    given = assignment(Task("worker", 0), config, job=job, **fields)
    events: list[Any] = []
    trainer = Trainer(given, loaded, make_mode(given, loaded), events.append)
    trainer.prepare()
    asked = settings(job, **fields, samples=STEPS * BATCH * replicas, steps_per_call=1)
    train(trainer, leg("leg", of=asked))
    logs = [dict(event.logs) for event in events if isinstance(event, StepBatch)]
    final = next(e.snapshot for e in events if isinstance(e, SnapshotTaken) and e.stamp.final)
    return {"logs": logs, "weights": [array.tolist() for array in final.weights]}


def plain(job: str, params: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Train by `model.fit` one step at a time, so that its running means are the logs of single steps."""
    import keras
    from keras.src.utils.naming import reset_uids

    from jobs.api import DataContext
    from workers.model.state import state_variables

    loaded = load(job, params)
    keras.utils.set_random_seed(SEED)
    dataset = loaded.train_dataset(DataContext(BATCH * replicas, seed=SEED))
    reset_uids()
    keras.utils.set_random_seed(SEED)
    model = loaded.build_model()
    seen: list[dict[str, float]] = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(dict(logs)))
    model.fit(
        dataset.repeat(),
        epochs=STEPS,
        steps_per_epoch=1,
        verbose=0,
        class_weight=loaded.class_weight,
        callbacks=[keep],
    )
    return {"logs": seen, "weights": [variable.numpy().tolist() for variable in state_variables(model)]}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
