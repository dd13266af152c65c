"""What a script gets in place of a strategy and a cluster of its own, and of a notebook."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from jobs.scripts.errors import ScriptError

_STRATEGIES = (
    "MirroredStrategy",
    "MultiWorkerMirroredStrategy",
    "OneDeviceStrategy",
    "ParameterServerStrategy",
    "TPUStrategy",
    "experimental.CentralStorageStrategy",
    "experimental.MultiWorkerMirroredStrategy",
    "experimental.ParameterServerStrategy",
    "experimental.TPUStrategy",
)


TF_CONFIG = "TF_CONFIG"
_WORKERS = {"worker": ["localhost:1"]}


class Cluster:
    """TF_CONFIG as a script has it, and may set it, which is not the task's own: strategies of modes read that."""

    def __init__(self, named: bool) -> None:
        """`named`: the script names the variable, so it gets the one of a single worker."""
        task = {"type": "worker", "index": 0}
        self._other = json.dumps({"cluster": _WORKERS, "task": task}) if named else None

    def swap(self) -> None:
        """Put the other one in place, where the script begins to run or stops."""
        current = os.environ.pop(TF_CONFIG, None)
        if self._other is not None:
            os.environ[TF_CONFIG] = self._other
        self._other = current


class Strategy:
    """Stands in for a strategy that the script makes: Regatta's own is in scope already."""

    num_replicas_in_sync = 1

    def __init__(self, name: str) -> None:
        self._name = name

    def scope(self) -> Any:
        return nullcontext(self)

    @property
    def cluster_resolver(self) -> Any:
        """Resolves to one worker, so that what a script leaves to its chief is done."""
        import tensorflow as tf

        workers = tf.train.ClusterSpec(_WORKERS)
        return tf.distribute.cluster_resolver.SimpleClusterResolver(workers, task_type="worker", task_id=0)

    def __getattr__(self, name: str) -> Any:
        raise ScriptError(
            f"the script uses {self._name}.{name}, a training loop or input of its own. Regatta distributes what "
            "`model.fit` is given: call fit with the whole dataset, and put what a step does into the model's "
            "train_step."
        )


def replace_strategies(current: Callable[[], Any]) -> None:
    """Give a script that runs stand-ins instead of strategies."""
    import tensorflow as tf

    for path in _STRATEGIES:
        holder, name = tf.distribute, path
        if "." in path:
            holder, name = tf.distribute.experimental, path.partition(".")[2]
        original = getattr(holder, name, None)
        if original is not None:
            setattr(holder, name, _or_stand_in(original, name, current))


def _or_stand_in(original: Any, name: str, current: Callable[[], Any]) -> Any:
    class Chosen(original):  # type: ignore[misc]
        """The strategy itself, except in a script."""

        def __new__(cls, *arguments: Any, **options: Any) -> Any:
            execution = current()
            if execution is None:
                return original(*arguments, **options)
            execution.note(f"its {name} is left out: Regatta's own strategy of the mode is in scope, with one replica")
            return Strategy(name)

    Chosen.__name__ = Chosen.__qualname__ = name
    return Chosen


class Notebook:
    """What `get_ipython()` returns in a notebook that was exported as a script: its magics do nothing."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None
