"""Turns JSON values into tensors, with TensorFlow Serving's rules: no value changes its type or loses precision."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from math import inf, isnan
from typing import Any

import numpy as np

from orchestrator.serving.json_body import Body
from orchestrator.serving.refusal import Refusal, shown
from orchestrator.serving.signature import AnyArray, TensorType

_FLOATS: dict[str, Any] = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
_INTEGERS: dict[str, Any] = {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}").type for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_KINDS: dict[str, set[type]] = {
    **{dtype: {int, float} for dtype in _FLOATS},
    **{dtype: {int} for dtype in _INTEGERS},
    "bool": {bool},
    "string": {str, dict},
}
"""Python's types of the JSON values that each type of tensor takes."""
MAX_RANK = 32
"""More levels of lists than any model takes; NumPy's own limit is 64."""


def to_tensor(value: Any, wanted: TensorType, body: Body) -> AnyArray:
    """The tensor of a nested list, or of a single value.

    Raises:
        Refusal: it is ragged, too deep, or contains a value that is not of the type.
    """
    _check_rank(value)
    if wanted.dtype not in _KINDS:
        raise Refusal("UNIMPLEMENTED", f"Conversion of JSON values to type: {wanted.dtype}. Use gRPC for it.")
    if body.only_numbers and (numbers := _plain_numbers(value, wanted.dtype)) is not None:
        return numbers
    try:
        # As Python's objects: NumPy by itself takes booleans for numbers and, beside strings, numbers for strings.
        found = np.array(value, dtype=object)
    except ValueError:
        raise _ragged(value) from None
    items = found.reshape(-1).tolist()
    kinds = set(map(type, items))
    if list in kinds:
        raise _ragged(value)
    if not kinds <= _KINDS[wanted.dtype]:
        raise next(_type_error(item, wanted.dtype) for item in items if type(item) not in _KINDS[wanted.dtype])
    if wanted.dtype == "string":
        found.reshape(-1)[:] = [text_or_bytes(item) for item in items]
        return found
    if wanted.dtype in _INTEGERS:
        _check_integers(items, wanted.dtype)
    elif wanted.dtype in _FLOATS:
        _check_floats(items, kinds, wanted.dtype, body)
    return found.astype(_scalar(wanted.dtype))


def _plain_numbers(value: Any, dtype: str) -> AnyArray | None:
    """The tensor of numbers, all of which the type holds; None if any has to be looked at more closely."""
    try:
        found: AnyArray = np.array(value)
    except (ValueError, OverflowError):
        return None
    if dtype in _FLOATS and found.dtype.kind in "if":
        kind = np.finfo(_FLOATS[dtype])
        largest = min((1 << kind.nmant + 1) - 1, float(kind.max))  # up to which integers lose nothing
        smallest = -largest
    elif dtype in _INTEGERS and found.dtype.kind == "i":
        smallest, largest = np.iinfo(_INTEGERS[dtype]).min, np.iinfo(_INTEGERS[dtype]).max
    else:
        return None
    if found.size and smallest <= found.min() and found.max() <= largest:
        return found.astype(_scalar(dtype))
    return None


def is_bytes(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def text_or_bytes(value: Any) -> bytes:
    """The bytes of a string, or of `{"b64": ...}`, in either alphabet, with or without padding."""
    if not isinstance(value, str) and not is_bytes(value):
        raise _type_error(value, "string")
    try:
        if isinstance(value, str):
            return value.encode()
        encoded = value["b64"].encode("ascii").rstrip(b"=")
        if len(encoded) % 4 == 1:
            raise binascii.Error
        padded = encoded.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(encoded) % 4)
        return base64.b64decode(padded, validate=True)
    except UnicodeEncodeError:
        raise Refusal("INVALID_ARGUMENT", f"{shown(value)} is not Unicode text") from None
    except binascii.Error:
        raise Refusal("INVALID_ARGUMENT", "Unable to base64 decode") from None


def _check_rank(value: Any) -> None:
    rank = 0
    while isinstance(value, list) and value:
        rank, value = rank + 1, value[0]
    if rank > MAX_RANK:
        raise Refusal("INVALID_ARGUMENT", f"Encountered list at unexpected level: {rank} expected < {MAX_RANK}")


def _scalar(dtype: str) -> Any:
    return np.bool_ if dtype == "bool" else (_FLOATS | _INTEGERS)[dtype]


def _check_integers(items: Sequence[Any], dtype: str) -> None:
    limits = np.iinfo(_INTEGERS[dtype])
    if items and not limits.min <= min(items) <= max(items) <= limits.max:
        raise next(_type_error(item, dtype) for item in items if not limits.min <= item <= limits.max)


def _check_floats(items: Sequence[Any], kinds: set[type], dtype: str, body: Body) -> None:
    kind = np.finfo(_FLOATS[dtype])
    exact, largest = (1 << kind.nmant + 1) - 1, float(kind.max)
    for item in items if int in kinds else ():
        # Larger integers than these are doubles to RapidJSON.
        if type(item) is int and exact < abs(item) < (1 << 64 if item > 0 else 1 << 63):
            raise _lossy(item, dtype)
    if not items or (-largest <= min(items) <= max(items) <= largest and not any(map(isnan, items))):
        return
    for item in items:
        if abs(item) == inf:
            body.check_overflow()
        elif abs(item) > largest:
            raise _lossy(item, dtype)


def _type_error(value: Any, dtype: str) -> Refusal:
    return Refusal(
        "INVALID_ARGUMENT",
        f"JSON Value: {shown(value)} Type: {_json_type(value)} is not of expected type: {dtype}",
    )


def _lossy(value: float, dtype: str) -> Refusal:
    return Refusal(
        "INVALID_ARGUMENT", f"Cannot convert JSON value: {shown(value)} to {dtype} without loss of precision."
    )


def _ragged(value: Any) -> Refusal:
    return Refusal("INVALID_ARGUMENT", f"{shown(value)} is ragged: lists of one level differ in size")


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    kinds = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return kinds[type(value)]
