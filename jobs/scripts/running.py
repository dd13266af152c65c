"""Runs a script as Python would, and stops it where it calls `fit`.

Keras' `fit` is replaced for the whole process, but acts only in a thread that runs a script. Everything before it is
the script's own: its modules, its arguments, its folder.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.scripts.errors import ScriptError
from jobs.scripts.execution import Execution, Script, Stopped
from jobs.scripts.intercept import replace_calls
from jobs.scripts.made_with import remember
from jobs.scripts.recognise import names_cluster
from jobs.scripts.stand_ins import TF_CONFIG, Cluster, Notebook, replace_strategies

_current: ContextVar[Execution | None] = ContextVar("regatta_script", default=None)


def execute(execution: Execution) -> None:
    """Run the script to its end, or until `on_fit` raises `Stopped`.

    Raises:
        ScriptError: something in it cannot be trained.
        Exception: whatever the script itself raises.
    """
    prepare_process()
    script = execution.script
    _seed(script.seed)
    module = ModuleType("__main__")
    module.__file__ = str(script.path)
    vars(module)["get_ipython"] = Notebook
    execution.module = module
    if names_cluster(script.path):
        execution.cluster = Cluster(named=True)
        execution.note(
            f"it names {TF_CONFIG}, and is given one of a single worker: Regatta forms the cluster, and its workers "
            "share each batch that fit is given"
        )
    with _as_main(module, script), _active(execution), _apart(execution.cluster):
        try:
            exec(compile(script.path.read_bytes(), str(script.path), "exec"), vars(module))  # noqa: S102 - the script
        except Stopped:
            pass
        except SystemExit as exit_:
            if exit_.code not in (None, 0):
                raise


@contextmanager
def _active(execution: Execution) -> Iterator[None]:
    token = _current.set(execution)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def _apart(cluster: Cluster) -> Iterator[None]:
    cluster.swap()
    try:
        yield
    finally:
        cluster.swap()


@contextmanager
def _as_main(module: ModuleType, script: Script) -> Iterator[None]:
    """Make `module` the main one, whose folder comes first, and forget the modules of earlier runs.

    A module beside the script may have built layers, whose variables belong to the run that made them.
    """
    folder = script.path.parent
    for name in list(sys.modules):
        if name != "__main__" and is_beside(name, script):
            del sys.modules[name]
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    before = sys.modules.get("__main__"), sys.argv
    sys.modules["__main__"], sys.argv = module, [script.shown, *script.arguments]
    try:
        yield
    finally:
        sys.argv = before[1]
        if before[0] is not None:
            sys.modules["__main__"] = before[0]


def is_beside(name: str, script: Script) -> bool:
    """Whether the module `name` is the script, or lies in its folder or below and belongs to it."""
    if name == "__main__":
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and Path(file).parent.is_relative_to(script.path.parent) and not _is_installed(file)


_PACKAGES = Path(__file__).resolve().parents[2]


def _is_installed(file: str) -> bool:
    path = Path(file)
    ours = any(path.is_relative_to(_PACKAGES / name) for name in ("jobs", "workers", "orchestrator"))
    return ours or "site-packages" in path.parts or path.is_relative_to(Path(os.__file__).parent)


def _seed(seed: int) -> None:
    """Seed what the script does not: NumPy the same for all runs, because it may make the data."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(seed)
    np.random.seed(0)


_prepared: list[bool] = []


def prepare_process() -> None:
    """Replace, once, the functions that act otherwise while a script runs."""
    if _prepared:
        return
    _prepared.append(True)
    os.environ.setdefault("MPLBACKEND", "Agg")  # windows would wait for someone to close them
    import keras
    import numpy as np
    import tensorflow as tf
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.utils import rng_utils

    replace_calls(TensorFlowTrainer, _current.get, lambda: _current.set(None))
    replace_strategies(_current.get)
    for base in (keras.Operation, keras.Model, keras.Metric, keras.Loss):  # a model does not tell its base class
        remember(base, lambda: _current.get() is not None)
    _shift_seeds(tf, keras, rng_utils)
    make = np.random.default_rng

    @wraps(make)
    def default_rng(seed: Any = None) -> Any:
        return make(0 if seed is None and _current.get() is not None else seed)

    np.random.default_rng = default_rng  # every task has to make the same data
    _be_numbers()


def _be_numbers() -> None:
    """Let `float(optimizer.learning_rate)` work in a strategy's scope too: of all conversions, TensorFlow lacks it."""
    from tensorflow.python.distribute.values import DistributedVariable

    DistributedVariable.__int__ = lambda self: int(self.numpy())
    DistributedVariable.__float__ = lambda self: float(self.numpy())


def _shift_seeds(tf: Any, keras: Any, rng_utils: Any) -> None:
    """Add a run's seed to those that its script sets for weights and order, but not to NumPy's."""
    set_seed, set_all = tf.random.set_seed, keras.utils.set_random_seed

    @wraps(set_seed)
    def set_seed_shifted(seed: Any) -> None:
        execution = _current.get()
        if execution is not None:
            execution.seeded = True
            seed += execution.script.seed
        set_seed(seed)

    @wraps(set_all)
    def set_all_shifted(seed: int) -> None:
        set_all(seed)
        execution = _current.get()
        if execution is not None and execution.script.seed:
            random.seed(seed + execution.script.seed)

    tf.random.set_seed = set_seed_shifted
    tf.compat.v2.random.set_seed = set_seed_shifted
    keras.utils.set_random_seed = rng_utils.set_random_seed = set_all_shifted


def never_reached(execution: Execution, fit: int) -> ScriptError:
    """The error for a script that has ended before its `fit` number `fit`."""
    name = execution.script.path.name
    if execution.fits:
        return ScriptError(f"{name} calls fit {execution.fits} times, so there is no fit {fit}: choose an earlier one.")
    return ScriptError(
        f"{name} ended without calling fit of a Keras model, which is where Regatta takes over. It looked for "
        "model.fit(...) in the script and what it imports. If that is within `if` or after a question, give the "
        "arguments that lead to it after `--`."
    )
