"""Prints tensors as JSON, with numbers as TensorFlow Serving prints them: `1.0`, `0.1`, `NaN`, `-Infinity`.

A float of 32 bits has the few digits that it needs: as a Python float, 0.1 would be 0.10000000149011612.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import AnyArray

_DIGITS = {"float16": 5, "float32": 9, "float64": 17}
"""Significant digits that tell any two numbers of a type apart."""


def to_json(name: str, array: AnyArray) -> str:
    """The values of the output `name`, in lists of its shape; raises Refusal for a type that JSON does not have."""
    kind = array.dtype.kind
    if kind == "f":
        texts = _floats(array)
    elif kind in "iu":
        texts = [str(value) for value in array.reshape(-1).tolist()]
    elif kind == "b":
        texts = ["true" if value else "false" for value in array.reshape(-1).tolist()]
    elif kind == "O":
        texts = [_string(name, value) for value in array.reshape(-1).tolist()]
    else:
        raise Refusal("INVALID_ARGUMENT", f"Failed to write JSON value for tensor type: {array.dtype}")
    return _nested(texts, array.shape)


def _nested(texts: list[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return texts[0]
    if 0 in shape:
        return json.dumps(np.zeros(shape).tolist())
    for size in reversed(shape):
        texts = [f"[{', '.join(texts[start : start + size])}]" for start in range(0, len(texts), size)]
    return texts[0]


def _floats(array: AnyArray) -> list[str]:
    flat: Any = array.reshape(-1)
    digits = _DIGITS.get(str(array.dtype))
    if digits is None:
        raise Refusal("INVALID_ARGUMENT", f"Failed to write JSON value for tensor type: {array.dtype}")
    values = flat.tolist()
    short = [f"{value:.6g}" for value in values]
    exact = np.array([float(text) for text in short], flat.dtype) == flat
    return [
        _decimal(text if same else f"{value:.{digits}g}", value)
        for text, value, same in zip(short, values, exact.tolist(), strict=True)
    ]


def _decimal(text: str, value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return text if "." in text or "e" in text else f"{text}.0"


def _string(name: str, value: Any) -> str:
    content = value if isinstance(value, bytes) else str(value).encode()
    if name.endswith("_bytes"):
        return json.dumps({"b64": base64.b64encode(content).decode()})
    try:
        return json.dumps(content.decode())
    except UnicodeDecodeError:
        raise Refusal(
            "FAILED_PRECONDITION",
            f"Output {name} contains bytes that are not UTF-8. Outputs whose names end with _bytes are answered in "
            "base64; gRPC takes any.",
        ) from None
