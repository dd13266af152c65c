"""What callbacks remember, as plain data: `EarlyStopping.wait`, `ReduceLROnPlateau.best`, a history of lists.

Numbers, texts, lists, mappings and arrays among a callback's attributes are kept, everything else is not: files,
functions and models are made anew when training goes on. Nothing is pickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.snapshot import CallbackMemory

if TYPE_CHECKING:
    import keras

_NOT_THEIRS = ("model", "_model", "params", "validation_data")
"""Given to every callback by Keras, anew each time."""
_DEEPEST = 20


class _Unplain(Exception):  # noqa: N818 - nobody's error: the attribute is left out
    pass


def remember(callbacks: Sequence[keras.callbacks.Callback], steps: Sequence[Mapping[str, float]]) -> CallbackMemory:
    """What `callbacks` hold, and what the `steps` of the epoch under way logged."""
    arrays: list[np.ndarray[Any, Any]] = []
    told = []
    for callback in callbacks:
        attributes = {}
        for name, value in vars(callback).items():
            if name not in _NOT_THEIRS:
                count = len(arrays)
                try:
                    attributes[name] = _plain(value, arrays)
                except _Unplain:
                    del arrays[count:]
        told.append({"class": type(callback).__name__, "attributes": attributes})
    names = list(steps[-1]) if steps else []
    logged = np.array([[step[name] for name in names] for step in steps], np.float64)
    arrays.append(logged.reshape(len(steps), len(names)))
    return CallbackMemory({"callbacks": told, "logs": {"names": names, "rows": len(arrays) - 1}}, tuple(arrays))


def recall(memory: CallbackMemory, callbacks: Sequence[keras.callbacks.Callback]) -> list[dict[str, float]]:
    """Give `callbacks` back what they held; returns what the steps of the epoch under way logged.

    A callback that the job has changed since, or that stands in another place now, begins anew.

    Raises:
        ValueError: `memory` is not what `remember` makes.
    """
    try:
        for callback, told in zip(callbacks, memory.document["callbacks"], strict=False):
            if told["class"] != type(callback).__name__:
                continue
            for name, value in told["attributes"].items():
                if name not in _NOT_THEIRS and not callable(getattr(callback, name, None)):
                    setattr(callback, name, _value(value, memory.arrays, 0))
        names, rows = memory.document["logs"]["names"], memory.arrays[memory.document["logs"]["rows"]]
        return [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"what the checkpoint tells of callbacks is not in Regatta's form: {error!r}") from None


def _plain(value: Any, arrays: list[np.ndarray[Any, Any]], depth: int = 0) -> Any:
    """As JSON: lists and the simple types stand for themselves, everything else is a mapping with one key."""
    if depth > _DEEPEST:
        raise _Unplain
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biufc":
            raise _Unplain
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
    raise _Unplain


def _value(plain: Any, arrays: Sequence[np.ndarray[Any, Any]], depth: int) -> Any:
    if depth > 2 * _DEEPEST:
        raise ValueError("what the checkpoint tells of callbacks is nested too deeply")
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
    raise ValueError("what the checkpoint tells of callbacks is not in Regatta's form")
