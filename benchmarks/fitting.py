"""Times `fit` after a warm-up, with a given number of steps per execution."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WARM_EXECUTIONS = 3


class Stopwatch:
    """Times of the end of the first step, and of the start and end of the timed epoch.

    They are from `time.monotonic()`, which all processes share.
    """

    def __init__(self) -> None:
        self.first_step: float | None = None
        self.begun = self.ended = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    def first(self, keras: Any) -> Any:
        """A callback for the warm-up, called after every execution."""
        watch = self

        class First(keras.callbacks.Callback):  # type: ignore[misc]
            _supports_tf_logs = True  # otherwise Keras copies the logs to the host for it

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                watch.first_step = watch.first_step or time.monotonic()

        return First()

    def epoch(self, keras: Any) -> Any:
        """A callback for the timed epoch, called at its start and end only."""
        watch = self

        class Epoch(keras.callbacks.Callback):  # type: ignore[misc]
            _supports_tf_logs = True

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                watch.begun = time.monotonic()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                watch.ended = time.monotonic()

        return Epoch()


def compile_again(model: Any, steps_per_execution: int, **settings: Any) -> Any:
    """Compile the job's model with other settings; loss and metrics are those of both built-in jobs."""
    model.compile(
        optimizer=model.optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
        **settings,
    )
    return model


def whole_executions(steps: int, steps_per_execution: int) -> int:
    return max(1, steps // steps_per_execution) * steps_per_execution


def timed_fit(
    keras: Any, model: Any, data: Callable[[], Any], steps: int, steps_per_execution: int, *, per_batch: bool = True
) -> Stopwatch:
    """Run a short `fit` that compiles, then a timed one of `steps` steps. `data` makes the argument of `fit`.

    `per_batch`: whether callbacks may be called per batch (ParameterServerStrategy forbids it).
    """
    watch = Stopwatch()
    warm_up = [watch.first(keras)] if per_batch else []
    warm_steps = WARM_EXECUTIONS * steps_per_execution
    model.fit(data(), steps_per_epoch=warm_steps, epochs=1, verbose=0, callbacks=warm_up)
    model.fit(data(), steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[watch.epoch(keras)])
    return watch
