"""Keras' `fit`, `evaluate` and `predict`, as a script gets them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from jobs.scripts.fit_call import FitCall

if TYPE_CHECKING:
    import keras

    from jobs.scripts.execution import Execution, Script


@dataclass(frozen=True)
class Fit:
    """A `fit` that the script has come to."""

    where: str
    """As `train.py:30`."""
    read: Callable[[], FitCall]
    """Reads its arguments, the first batch of a generator included."""
    train: Callable[[], keras.callbacks.History]
    """Keras' own `fit`, in this process alone."""
    try_out: Callable[[], keras.callbacks.History]
    """The same with one batch; its History has as many epochs as the whole would have."""
    build: Callable[[], None]
    """Makes the variables of the model and its optimizer, as `fit` would."""
    model: keras.Model
    dtype_policy: keras.DTypePolicy
    """The global one, which is this thread's own."""


def replace_calls(trainer: Any, current: Callable[[], Execution | None], leave: Callable[[], object]) -> None:
    """Have a script's calls of `trainer`'s methods go to its execution; in the context after `leave`, they do not."""
    fit = trainer.fit

    def by_keras(*arguments: Any, **options: Any) -> Any:
        context = copy_context()
        context.run(leave)
        return context.run(fit, *arguments, **options)

    @wraps(fit)
    def intercepted(model: Any, *arguments: Any, **options: Any) -> Any:
        execution = current()
        if execution is None:
            return fit(model, *arguments, **options)
        execution.fits += 1
        seeded, shift = execution.seeded, execution.script.seed

        def read() -> FitCall:
            return FitCall.bind(fit, model, arguments, options, seeded=seeded, shift=shift)

        def try_out() -> Any:
            return _tried(by_keras, FitCall.arguments(fit, model, arguments, options))

        def build() -> None:
            if not model.built:
                model._symbolic_build(data_batch=next(iter(read().data.dataset())))
            if model.optimizer is not None and not model.optimizer.built:  # counted with those of a model around it
                model.optimizer.build(model.trainable_variables)

        where, train = _line_of(execution.script), lambda: by_keras(model, *arguments, **options)
        reached = Fit(where, read, train, try_out, build, model, _dtype_policy())
        return execution.on_fit(reached, execution.fits)

    trainer.fit = intercepted
    for name in ("evaluate", "predict"):
        _replace_answer(trainer, name, current, leave)


def _replace_answer(
    trainer: Any, name: str, current: Callable[[], Execution | None], leave: Callable[[], object]
) -> None:
    method = getattr(trainer, name)

    @wraps(method)
    def answered(*arguments: Any, **options: Any) -> Any:
        execution = current()
        if execution is None:
            return method(*arguments, **options)
        context = copy_context()
        context.run(leave)
        return execution.answer(lambda: context.run(method, *arguments, **options))

    setattr(trainer, name, answered)


def _tried(fit: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Call `fit` for one batch of one epoch, and repeat its History for the others."""
    epochs = max(1, given["epochs"] - given["initial_epoch"])
    validates = given["validation_data"] is not None or given["validation_split"]
    less = {"epochs": given["initial_epoch"] + 1, "steps_per_epoch": 1, "validation_freq": 1, "verbose": 0}
    history = fit(**{**given, **less, **({"validation_steps": 1} if validates else {})})
    history.epoch = list(range(given["initial_epoch"], given["initial_epoch"] + epochs))
    history.history = {name: values[:1] * epochs for name, values in history.history.items()}
    return history


def _dtype_policy() -> keras.DTypePolicy:
    import keras

    return keras.config.dtype_policy()


def _line_of(script: Script) -> str:
    """Where the script is now, as `train.py:30`; for messages from inside a call."""
    frames = [frame for frame in traceback.extract_stack() if frame.filename == str(script.path)]
    return f"{script.path.name}:{frames[-1].lineno}" if frames else script.path.name
