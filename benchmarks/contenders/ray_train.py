"""Ray Train's TensorflowTrainer with tf_keras `fit`: synchronous, and the usual choice of a Ray user."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from benchmarks.child import Child, Line
from benchmarks.contenders import Trained
from benchmarks.workload import WORKERS, Workload


class RayTrain:
    needs = ("tf_keras", "ray.train")

    def __init__(self, steps_per_execution: int) -> None:
        self._steps_per_execution = steps_per_execution
        self.name = f"Ray Train + tf_keras fit, {steps_per_execution} steps/execution"

    def train(self, workload: Workload, cores: Sequence[int] | None = None) -> Trained:
        if cores:
            raise ValueError("Ray Train's workers are not pinned here")
        return self.train_often(workload, 1)[0]

    def train_often(self, workload: Workload, times: int) -> list[Trained]:
        """Train `times` times on one started Ray, as a loop in a script would; each has a `total` of its own.

        The first `total` includes the start of Python and Ray, the last one their end.
        """
        steps = workload.samples // workload.batch_size // WORKERS
        request = {
            "workload": workload.to_json(),
            "steps": steps,
            "steps_per_execution": self._steps_per_execution,
            "times": times,
        }
        with Child(__name__, request) as child:
            begun = child.started
            done = []
            for number in range(times):
                answer = child.answer()
                ended = answer["ended"] if number < times - 1 else child.started + child.finish()
                done.append(
                    Trained(
                        steps=answer["steps"],
                        samples=answer["steps"] * workload.batch_size * WORKERS,
                        seconds=answer["seconds"],
                        first_step=answer["first_step"] - begun,
                        total=ended - begun,
                    )
                )
                begun = ended
        return done


def main() -> None:
    line = Line()
    import time

    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    # The training function would be too late, because TensorFlow is imported before it runs.
    variables = {"TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": os.environ["PYTHONPATH"]}
    ray.init(
        num_cpus=max(os.cpu_count() or 1, WORKERS + 1),
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": variables},
    )
    for _ in range(line.request["times"]):
        trainer = TensorflowTrainer(
            _train,
            train_loop_config=line.request,
            scaling_config=ScalingConfig(num_workers=WORKERS),
            run_config=RunConfig(storage_path=os.path.abspath("results")),  # noqa: PTH100 - Ray asks for a string
        )
        line.answer(**trainer.fit().return_value, ended=time.monotonic())
    ray.shutdown()


def _train(request: dict[str, Any]) -> dict[str, Any]:
    import sys

    import tensorflow as tf
    import tf_keras  # type: ignore[import-not-found, unused-ignore]

    tf.config.threading.set_intra_op_parallelism_threads(1)
    sys.modules["keras"] = tf_keras
    from benchmarks.contenders.tf_keras_fit import fit_sync

    return fit_sync(request, tf_keras)


if __name__ == "__main__":
    main()
