"""Regatta's modes, and plain Keras on the same data, all in this one process.

    python -m tests.integration.side_by_side MODE WORKERS ANSWER.json [JOB.py PARAMS, as JSON]...

With two workers of mode sync, two logical CPUs stand for two devices of one worker (a MirroredStrategy). They can only
be made before TensorFlow starts, hence a process of its own, which serves many jobs one after another. The servers that
mode async needs share a second process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local_runs import JOBS
from tests.made import assignment, leg
from workers.failures import describe
from workers.messages import Assignment, Task

BATCH, STEPS, SEED = 16, 24, 3


Case = tuple[str, Mapping[str, Any]]
"""A job and its params."""


def compare(replicas: int, job: str, params: Sequence[Mapping[str, Any]], answer: Path) -> list[dict[str, Any]]:
    """For each of `params`: `ours` and `plain`, each with `logs` (one dict per step) and `weights`; or `error`."""
    mode = "single" if replicas == 1 else "sync"
    return compare_cases(mode, replicas, [(job, one) for one in params], answer)


def compare_cases(mode: str, workers: int, cases: Sequence[Case], answer: Path) -> list[dict[str, Any]]:
    """For each case, `ours` and `plain` as in `compare`; in place of `ours`, `error` if it was refused or failed."""
    command = [sys.executable, "-P", "-m", "tests.integration.side_by_side", mode, str(workers), str(answer)]
    command += [text for job, params in cases for text in (job, json.dumps(params))]
    # Callbacks of a job without a folder write where the process is.
    done = subprocess.run(command, cwd=answer.parent, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    answers: list[dict[str, Any]] = json.loads(answer.read_text())
    return answers


def asked_for(request: pytest.FixtureRequest, parameter: str) -> list[str]:
    """Values of `parameter` in the tests of this module that are to run, so that no others are computed."""
    items = [item for item in request.session.items if item.fspath == request.node.fspath]
    found = (getattr(item, "callspec", None) for item in items)
    return list(dict.fromkeys(spec.params[parameter] for spec in found if spec and parameter in spec.params))


def main(mode: str, workers: int, answer: Path, cases: Sequence[str]) -> None:
    import tensorflow as tf

    together = workers if mode == "sync" else 1
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * together)
    share_one_strategy()
    group = grouped(mode, workers)
    answers: list[dict[str, Any]] = []
    for job, given in zip(cases[::2], map(json.loads, cases[1::2]), strict=True):
        answers.append({})
        try:
            answers[-1]["ours"] = ours(job, given, group)
            answers[-1]["plain"] = plain(job, given, together)
        except Exception as error:
            traceback.print_exc()
            failure = describe(error, group)
            answers[-1] |= {"error": failure.summary, "kind": failure.kind, "hint": failure.hint}
    answer.write_text(json.dumps(answers, default=lambda array: array.tolist()))
    sys.stdout.flush()
    os._exit(0)  # TensorFlow's servers and strategies would wait for each other


def grouped(mode: str, workers: int) -> Assignment:
    """The leader's assignment. Mode async gets a process with servers for its workers and a parameter server."""
    if mode != "async":
        config = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
        return assignment(Task("worker", 0), config, job="none", mode=mode, batch_size=BATCH, seed=SEED)
    names = {"worker": workers, "ps": 1, "chief": 1}
    spec = {name: [f"127.0.0.1:{free_port()}" for _ in range(count)] for name, count in names.items()}
    command = [sys.executable, "-P", "-c", SERVERS, json.dumps(spec), str(os.getpid())]
    servers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert servers.stdout
    servers.stdout.readline()  # a first attempt to connect that fails costs seconds
    config = {"cluster": spec, "task": {"type": "chief", "index": 0}}
    os.environ["TF_CONFIG"] = json.dumps(config)
    return assignment(Task("chief", 0), config, job="none", mode=mode, batch_size=BATCH, seed=SEED)


SERVERS = """
import json, os, sys, time
import tensorflow as tf

spec, parent = json.loads(sys.argv[1]), int(sys.argv[2])
settings = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=4, intra_op_parallelism_threads=1)
for name in ("worker", "ps"):
    for index in range(len(spec[name])):
        tf.distribute.Server(spec, job_name=name, task_index=index, protocol="grpc", config=settings)
print("ready", flush=True)
while os.getppid() == parent:
    time.sleep(0.1)
os._exit(0)
"""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def share_one_strategy() -> None:
    """A second MirroredStrategy in one process would use the first one's collective keys again, and a second
    ParameterServerStrategy would connect to the servers once more.

    The workers here are servers only, so that the state of async is on the parameter server. Models whose state is in
    memory are in `exactness/test_any_keras_model.py`.
    """
    import tensorflow as tf

    from workers.modes import async_, sync

    async_.store_group = lambda *_: None

    sync.synchronous_strategy = cache(sync.synchronous_strategy)
    made: list[Any] = []
    kind = tf.distribute.ParameterServerStrategy

    def shared(resolver: Any) -> Any:
        made[:] = made or [kind(resolver)]
        return made[0]

    tf.distribute.ParameterServerStrategy = shared


def load(job: str, params: Mapping[str, Any]) -> Any:
    from jobs.loading import load_job_class, validate_params

    job_class = load_job_class(job, str(JOBS))
    return job_class(validate_params(job_class, params))


def ours(job: str, params: Mapping[str, Any], group: Assignment) -> dict[str, Any]:
    from workers.modes.mode import make_mode
    from workers.news import LegFinished, StepBatch
    from workers.training.loop import train
    from workers.training.trainer import Trainer
    from workers.wire import SnapshotTaken

    loaded = load(job, params)
    given = replace(group, settings=group.settings.model_copy(update={"job": job, "params": params}))
    events: list[Any] = []
    mode = make_mode(given, loaded)
    trainer = Trainer(given, loaded, mode, events.append)
    trainer.prepare()
    samples = STEPS * BATCH * mode.batches_per_step
    asked = given.settings.model_copy(update={"samples": samples, "steps_per_call": 1})
    train(trainer, leg("leg", of=asked))
    batches = sorted((event for event in events if isinstance(event, StepBatch)), key=lambda one: int(one.steps[0]))
    finished = next(event for event in events if isinstance(event, LegFinished))
    final = next(e.snapshot for e in events if isinstance(e, SnapshotTaken) and e.stamp.final)
    return {
        "logs": [dict(batch.logs) for batch in batches],
        "weights": [array.tolist() for array in final.weights],
        "iterations": finished.optimizer_iterations,
    }


def plain(job: str, params: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Train by `model.fit` one step at a time, so that its running means are the logs of single steps."""
    import keras
    from keras.src.utils.naming import reset_uids

    from jobs.api import DataContext
    from workers.model.optimizers import iterations
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
    return {
        "logs": seen,
        "weights": [variable.numpy().tolist() for variable in state_variables(model)],
        "iterations": int(iterations(model.optimizer).numpy()),
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
