"""State of the whole process that a job's code may change, and that training depends on (docs/jobs.md has the table).

Most of it is the job's own business, as in `fit`: dtype policy, seeds, logging, the working directory. What would break
distributed training is put back after every call into the job, or not changed in the first place. The log says so once.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from jobs.api import Job
from workers.errors import RefusedError
from workers.session import say

_OURS = ("TF_CONFIG", "KERAS_BACKEND", "REGATTA_TASK", "no_grpc_proxy", "CUDA_VISIBLE_DEVICES")
"""Environment variables that tell this process its part in the group."""
_ENTRY_POINTS = ("build_model", "train_dataset", "eval_dataset", "callbacks", "after_training")
_DEVICE_SETTERS = ("set_visible_devices", "set_memory_growth", "set_logical_device_configuration")
_THREAD_SETTINGS = ("intra_op_parallelism_threads", "inter_op_parallelism_threads")
_said: set[str] = set()


def protect() -> None:
    """Make functions harmless that would break this process' strategy or devices, by whatever name a job has them."""
    import keras.src.backend.common.global_state as keras_state
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops

    # Both drop the stack that says which strategy is in scope. Their code is replaced: jobs may hold them by name.
    keras_state.clear_session.__code__ = _clear_session.__code__
    ops.reset_default_graph.__code__ = _reset_default_graph.__code__
    for name in _DEVICE_SETTERS:
        setattr(context.Context, name, _ignored(f"tf.config.{name}"))
    for name in _THREAD_SETTINGS:
        reader = getattr(context.Context, name).fget
        setattr(context.Context, name, property(reader, _ignored(f"tf.config.threading.set_{name}")))


def _clear_session(free_memory: bool = True) -> None:
    import sys  # this code runs with the globals of Keras' module

    sys.modules["workers.model.process_state"].session_cleared(free_memory=free_memory)


def _reset_default_graph() -> None:
    import sys

    sys.modules["workers.model.process_state"].say_once("tf.compat.v1.reset_default_graph() has no effect here")


def session_cleared(*, free_memory: bool) -> None:
    """What `keras.utils.clear_session` does in a task: automatic names start again, and nothing else is reset."""
    import gc

    from keras.src.utils.naming import reset_uids

    say_once("clear_session() resets automatic names only: the strategy and the dtype policy stay")
    reset_uids()
    if free_memory:
        gc.collect()


def say_once(text: str) -> None:
    """Write a line to the task's log, unless this process has written it already."""
    if text not in _said:
        _said.add(text)
        say(text)


def _ignored(name: str) -> Callable[..., None]:
    def ignore(*_: Any, **__: Any) -> None:
        say_once(f"the job's {name} has no effect: --cpus-per-task and --gpus-per-worker set devices and threads")

    return ignore


def guarded(job: Job) -> Job:
    """Return `job`, after each of whose methods the process' state is put back."""
    refuse_unusable_process()
    for name in _ENTRY_POINTS:
        setattr(job, name, _guarded(name, getattr(job, name)))
    return job


def refuse_unusable_process() -> None:
    """Raise RefusedError if the job's file has turned off what cannot be turned on again."""
    import keras
    import tensorflow as tf

    if not tf.executing_eagerly() and not tf.inside_function():
        raise RefusedError(
            "the job turns off eager execution (tf.compat.v1.disable_eager_execution or disable_v2_behavior), which "
            "Keras 3 needs: remove that call."
        )
    if keras.backend.backend() != "tensorflow":
        raise RefusedError(f"the job sets Keras' backend to {keras.backend.backend()}; it has to be tensorflow.")


def _guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        with kept(name):
            return method(*arguments, **options)

    return call


@contextmanager
def kept(name: str) -> Iterator[None]:
    """Put back what the job's code inside changes of this process; `name` says whose code it is."""
    before = _settings()
    try:
        yield
    finally:
        for setting, (value, _) in _settings().items():
            wanted, put_back = before[setting]
            if value != wanted:
                put_back(wanted)
                say_once(f"{name} changed {setting}, which was put back")


def _settings() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Values of all settings that are kept, each with a function that sets it."""
    import tensorflow as tf

    found: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        f"the environment variable {name}": (os.environ.get(name), partial(_set_variable, name)) for name in _OURS
    }
    config = tf.config
    found["tf.config.run_functions_eagerly"] = (config.functions_run_eagerly(), config.run_functions_eagerly)
    placement = config.get_soft_device_placement()
    found["tf.config.set_soft_device_placement"] = (placement, config.set_soft_device_placement)
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        found["the handler of SIGTERM"] = (handler, partial(signal.signal, signal.SIGTERM))
    found["warnings.filters"] = (_errors(), _keep_errors)
    found["numpy.seterr"] = (np.geterr(), lambda how: np.seterr(**how))
    return found


def _errors() -> list[Any]:
    """The filters that turn warnings into errors: TensorFlow, Keras and Regatta warn without expecting them."""
    return [entry for entry in warnings.filters if entry[0] == "error"]


def _keep_errors(wanted: list[Any]) -> None:
    warnings.filters[:] = [entry for entry in warnings.filters if entry[0] != "error" or entry in wanted]  # type: ignore[index]


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
