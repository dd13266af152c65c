"""Plain Keras 3 `fit` in one process, or in several independent processes at the same time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.child import Child, Line
from benchmarks.contenders import Trained
from benchmarks.workload import Workload


class KerasFit:
    """Splits the budget between `processes`, whose total speed is that of perfect scaling."""

    needs = ("keras",)

    def __init__(self, steps_per_execution: int, processes: int = 1, *, jit: bool = False) -> None:
        self._steps_per_execution = steps_per_execution
        self._processes = processes
        self._jit = jit
        kind = "1 process" if processes == 1 else f"{processes} independent processes"
        self.name = f"Keras 3 fit, {kind}, {'XLA, ' if jit else ''}{steps_per_execution} steps/execution"

    def train(self, workload: Workload, cores: Sequence[int] | None = None) -> Trained:
        steps = workload.samples // self._processes // workload.batch_size
        request = {
            "workload": workload.to_json(),
            "steps": steps,
            "steps_per_execution": self._steps_per_execution,
            "jit": self._jit,
        }
        with ExitStack() as stack:
            children = [
                stack.enter_context(Child(__name__, request | {"core": cores[n] if cores else None}))
                for n in range(self._processes)
            ]
            for child in children:
                child.answer()
            for child in children:
                child.go()
            answers = [child.answer() for child in children]
            total = max(child.finish() for child in children)
        trained = sum(answer["steps"] for answer in answers)
        return Trained(
            steps=trained,
            samples=trained * workload.batch_size,
            seconds=max(answer["ended"] for answer in answers) - min(answer["begun"] for answer in answers),
            first_step=min(answer["first_step"] for answer in answers) - children[0].started,
            total=total,
        )


def main() -> None:
    line = Line()
    pinned = line.request["core"] is not None
    import keras
    import tensorflow as tf

    from benchmarks.fitting import compile_again, whole_executions
    from benchmarks.workload import load

    if pinned:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    material = load(line.request["workload"])
    per_execution = line.request["steps_per_execution"]
    model = compile_again(material.job.build_model(), per_execution, jit_compile=line.request["jit"])
    times: dict[str, float] = {}

    class Epochs(keras.callbacks.Callback):  # type: ignore[misc]
        """Warms up in the first epoch; the second starts in all processes together. One `fit`, one iterator."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            times.setdefault("first_step", time.monotonic())

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                line.ready()
            times["begun"] = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            times["ended"] = time.monotonic()

    steps = whole_executions(line.request["steps"], per_execution)
    model.fit(material.dataset(1, 0), epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[Epochs()])
    line.answer(steps=steps, **times)


if __name__ == "__main__":
    main()
