"""State of callbacks as plain data: `EarlyStopping.wait`, `ReduceLROnPlateau.best`, the lists of `History`.

Attributes that are numbers, strings, lists, mappings or arrays are kept. Everything else (files, functions, models) is
not, and the callbacks create it again when training continues. Nothing is pickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.snapshot import CallbackMemory

if TYPE_CHECKING:
    import keras

_SET_BY_KERAS = ("model", "_model", "params", "validation_data", "append_header")
"""Attributes that Keras sets whenever training begins; the last one is a CSVLogger's."""
_MAX_DEPTH = 20


class _NotPlain(Exception):  # noqa: N818 - not an error: the attribute is left out
    pass


def remember(callbacks: Sequence[keras.callbacks.Callback], steps: Sequence[Mapping[str, float]]) -> CallbackMemory:
    """Save the state of `callbacks`, and what the `steps` of the current epoch logged."""
    arrays: list[np.ndarray[Any, Any]] = []
    saved = []
    for callback in callbacks:
        attributes = {}
        for name, value in vars(callback).items():
            if name not in _SET_BY_KERAS:
                count = len(arrays)
                try:
                    attributes[name] = _plain(value, arrays)
                except _NotPlain:
                    del arrays[count:]
        saved.append({"class": type(callback).__name__, "attributes": attributes})
    names = list(steps[-1]) if steps else []
    logged = np.array([[step[name] for name in names] for step in steps], np.float64)
    arrays.append(logged.reshape(len(steps), len(names)))
    return CallbackMemory({"callbacks": saved, "logs": {"names": names, "rows": len(arrays) - 1}}, tuple(arrays))


def recall(memory: CallbackMemory, callbacks: Sequence[keras.callbacks.Callback]) -> list[dict[str, float]]:
    """Restore the state of `callbacks`; returns what the steps of the current epoch logged.

    A callback of another class than the one saved at its index, because the job has changed, starts afresh.

    Raises:
        ValueError: `memory` does not have the form that `remember` writes.
    """
    try:
        for callback, saved in zip(callbacks, memory.document["callbacks"], strict=False):
            if saved["class"] != type(callback).__name__:
                continue
            for name, value in saved["attributes"].items():
                if name not in _SET_BY_KERAS and not callable(getattr(callback, name, None)):
                    setattr(callback, name, _value(value, memory.arrays, 0))
            _monitor_again(callback)
        names, rows = memory.document["logs"]["names"], memory.arrays[memory.document["logs"]["rows"]]
        return [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"the checkpoint's state of callbacks is not in Regatta's form: {error!r}") from None


def _monitor_again(callback: keras.callbacks.Callback) -> None:
    """Undo the sign that a monitoring callback of Keras 3 gave to its `min_delta` at its first use.

    Its comparison, set at the same time, is a function and so not restored: both are set again at the next use.
    """
    if hasattr(callback, "monitor_op") and hasattr(callback, "min_delta") and callback.monitor_op is None:
        callback.min_delta = abs(callback.min_delta)


def _plain(value: Any, arrays: list[np.ndarray[Any, Any]], depth: int = 0) -> Any:
    """Encode `value` as JSON: lists and simple types as they are, everything else as a mapping with one key."""
    if depth > _MAX_DEPTH:
        raise _NotPlain
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biufc":
            raise _NotPlain
        arrays.append(np.asarray(value))
        return {"array" if isinstance(value, np.ndarray) else "number": len(arrays) - 1}
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int and abs(value) < 2**53:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) in (list, tuple):
        items = [_plain(item, arrays, depth + 1) for item in value]
        return items if type(value) is list else {"tuple": items}
    if type(value) is dict:
        return {"dict": [[_plain(k, arrays, depth + 1), _plain(v, arrays, depth + 1)] for k, v in value.items()]}
    raise _NotPlain


def _value(plain: Any, arrays: Sequence[np.ndarray[Any, Any]], depth: int) -> Any:
    """Decode what `_plain` encoded."""
    if depth > 2 * _MAX_DEPTH:
        raise ValueError("the checkpoint's state of callbacks is nested too deeply")
    if isinstance(plain, list):
        return [_value(item, arrays, depth + 1) for item in plain]
    if not isinstance(plain, dict):
        return plain
    (kind, inner), *rest = plain.items()
    match kind:
        case "array" if not rest:
            return arrays[inner].copy()
        case "number" if not rest:
            return arrays[inner][()]
        case "float" if not rest:
            return float(inner)
        case "tuple" if not rest:
            return tuple(_value(item, arrays, depth + 1) for item in inner)
        case "dict" if not rest:
            return {_value(key, arrays, depth + 1): _value(item, arrays, depth + 1) for key, item in inner}
    raise ValueError("the checkpoint's state of callbacks is not in Regatta's form")
