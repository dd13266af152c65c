"""tf_keras `fit` with a hand-written TF_CONFIG, as in TensorFlow's own guides, with Keras 2."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.child import Child, Line
from benchmarks.contenders import Trained
from benchmarks.workload import WORKERS, Workload

TIMEOUT = 300.0
"""Seconds. Its parameter servers hang on a single core."""

Cluster = dict[str, list[str]]


class TfKerasFit:
    """Trains with `strategy` `sync` (MultiWorkerMirroredStrategy) or `ps` (ParameterServerStrategy, one server)."""

    needs = ("tf_keras",)

    def __init__(self, strategy: str, steps_per_execution: int) -> None:
        self._strategy = strategy
        self._steps_per_execution = steps_per_execution
        self.name = f"tf_keras fit, {strategy}, {steps_per_execution} steps/execution"

    def train(self, workload: Workload, cores: Sequence[int] | None = None) -> Trained:
        batches = WORKERS if self._strategy == "sync" else 1
        steps = workload.samples // workload.batch_size // batches
        cluster = _addresses(
            {"worker": WORKERS} if self._strategy == "sync" else {"chief": 1, "ps": 1, "worker": WORKERS}
        )
        leader = "worker" if self._strategy == "sync" else "chief"
        with ExitStack() as stack:
            children = {}
            for kind, addresses in cluster.items():
                for index in range(len(addresses)):
                    request = {
                        "workload": workload.to_json(),
                        "steps": steps,
                        "steps_per_execution": self._steps_per_execution,
                        "core": cores[index] if cores and kind == "worker" else None,
                        "threads": 1,
                        "role": kind if self._strategy == "ps" else "sync",
                    }
                    config = {"cluster": cluster, "task": {"type": kind, "index": index}}
                    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CONFIG": json.dumps(config), "no_grpc_proxy": "*"}
                    children[kind, index] = stack.enter_context(Child(__name__, request, env))
            answer = children[leader, 0].answer(TIMEOUT)
            total = children[leader, 0].finish()
        first_started = min(child.started for child in children.values())
        return Trained(
            steps=answer["steps"],
            samples=answer["steps"] * workload.batch_size * batches,
            seconds=answer["seconds"],
            first_step=None if answer["first_step"] is None else answer["first_step"] - first_started,
            total=total,
        )


def _addresses(tasks: dict[str, int]) -> Cluster:
    """Choose free ports: all are bound at the same time, so that none is chosen twice, and then released."""
    with ExitStack() as stack:
        cluster: Cluster = {}
        for kind, count in tasks.items():
            for _ in range(count):
                held = stack.enter_context(socket.socket())
                held.bind(("127.0.0.1", 0))
                cluster.setdefault(kind, []).append(f"127.0.0.1:{held.getsockname()[1]}")
        return cluster


def main() -> None:
    line = Line()
    import tensorflow as tf
    import tf_keras  # type: ignore[import-not-found, unused-ignore]

    tf.config.threading.set_intra_op_parallelism_threads(line.request["threads"])
    sys.modules["keras"] = tf_keras  # the job's `import keras`: the same model, built by Keras 2
    if line.request["role"] == "sync":
        line.answer(**fit_sync(line.request, tf_keras))
    elif line.request["role"] == "chief":
        line.answer(**_fit_ps(line.request, tf_keras))
    else:
        _serve(json.loads(os.environ["TF_CONFIG"]))


def _serve(config: dict[str, Any]) -> None:
    import tensorflow as tf

    task = config["task"]
    tf.distribute.Server(config["cluster"], job_name=task["type"], task_index=task["index"], protocol="grpc").join()


def fit_sync(request: dict[str, Any], keras: Any) -> dict[str, Any]:
    """Train one worker. Each worker reads its own shard in its own batches, so that no batch has to be split."""
    import tensorflow as tf

    from benchmarks.fitting import compile_again, timed_fit, whole_executions
    from benchmarks.workload import load

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    material = load(request["workload"])
    per_execution = request["steps_per_execution"]
    with strategy.scope():
        model = compile_again(material.job.build_model(), per_execution)

    def data() -> Any:
        return strategy.distribute_datasets_from_function(
            lambda context: material.dataset(context.num_input_pipelines, context.input_pipeline_id)
        )

    steps = whole_executions(request["steps"], per_execution)
    watch = timed_fit(keras, model, data, steps, per_execution)
    return {"steps": steps, "seconds": watch.seconds, "first_step": watch.first_step}


def _fit_ps(request: dict[str, Any], keras: Any) -> dict[str, Any]:
    import tensorflow as tf

    from benchmarks.fitting import compile_again, timed_fit, whole_executions
    from benchmarks.workload import load

    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    material = load(request["workload"])
    per_execution = request["steps_per_execution"]
    with strategy.scope():
        model = compile_again(material.job.build_model(), per_execution)

    def data() -> Any:
        # Every worker reads all data, in its own order: `fit` does not tell workers their shard.
        return keras.utils.experimental.DatasetCreator(lambda _: material.dataset(1, 0))

    steps = whole_executions(request["steps"], per_execution)
    watch = timed_fit(keras, model, data, steps, per_execution, per_batch=False)
    return {"steps": steps, "seconds": watch.seconds, "first_step": None}


if __name__ == "__main__":
    main()
