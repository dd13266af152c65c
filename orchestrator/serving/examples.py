"""Requests and answers of `:classify` and `:regress`, whose rows are `tf.Example`s.

A signature takes them serialized, in one input of strings, and answers with `classes` and `scores`, or with `outputs`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from orchestrator.serving.json_body import Body
from orchestrator.serving.messages import message
from orchestrator.serving.numbers import to_json
from orchestrator.serving.refusal import Refusal, shown
from orchestrator.serving.signature import CLASSIFY, REGRESS, Arrays, Signature
from orchestrator.serving.values import is_bytes, text_or_bytes

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def read(body: Body, signature: Signature, action: str) -> Arrays:
    """The inputs of a request; raises Refusal."""
    method, kind = (CLASSIFY, "classification") if action == "classify" else (REGRESS, "regression")
    if signature.method != method:
        raise Refusal(
            "INVALID_ARGUMENT",
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method}. Use :predict.",
        )
    if len(signature.inputs) != 1:
        raise Refusal("INVALID_ARGUMENT", f"Expected one input Tensor. Found {len(signature.inputs)}.")
    ((name, wanted),) = signature.inputs.items()
    if wanted.dtype != "string":
        raise Refusal("INVALID_ARGUMENT", f"Input {name} takes {wanted.dtype}, and not serialized examples.")
    context = b""
    if "context" in body.fields:
        context = _example(body.fields["context"])
    rows = body.fields.get("examples")
    if "examples" not in body.fields:
        raise Refusal("INVALID_ARGUMENT", f"When method is {action}, key 'examples' is expected and was not found")
    if not isinstance(rows, list):
        raise Refusal("INVALID_ARGUMENT", "Expecting 'examples' value to be an list/array")
    if not rows:
        raise Refusal("INVALID_ARGUMENT", "'examples' value is an empty array")
    examples = np.empty(len(rows), object)
    # Serialized messages that are joined are merged when they are parsed.
    examples[:] = [context + _example(row) for row in rows]
    return {name: examples}


def write(outputs: Arrays, action: str) -> bytes:
    """The answer, as JSON; raises Refusal if the model's outputs are not those of its method."""
    if action == "regress":
        values = outputs.get("outputs", next(iter(outputs.values())))
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise Refusal("INVALID_ARGUMENT", f"Expected output Tensor shape to be [batch_size]; it is {values.shape}")
        return f'{{"results": {to_json("outputs", values)}}}'.encode()
    classes, scores = outputs.get("classes"), outputs.get("scores")
    found = classes if classes is not None else scores
    if (
        found is None
        or found.ndim != 2
        or (classes is not None and scores is not None and classes.shape != scores.shape)
    ):
        raise Refusal("INVALID_ARGUMENT", "Expected outputs 'classes' and 'scores' of shape [batch_size, num_classes]")
    rows = []
    for row in range(len(found)):
        pairs = []
        for place in range(found.shape[1]):
            label = "" if classes is None else _label(classes[row, place])
            score = "0.0" if scores is None else to_json("scores", np.asarray(scores[row, place]))
            pairs.append(f"[{json.dumps(label)}, {score}]")
        rows.append(f"[{', '.join(pairs)}]")
    return f'{{"results": [{", ".join(rows)}]}}'.encode()


def _label(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Refusal("FAILED_PRECONDITION", "A label of a class is not UTF-8.") from None


def _example(row: Any) -> bytes:
    if not isinstance(row, dict):
        raise Refusal("INVALID_ARGUMENT", f"Example must be JSON object but got JSON {shown(row)}")
    example = message("tensorflow.Example")()
    for name, content in row.items():
        _fill(example.features.feature[_named(name)], name, content if isinstance(content, list) else [content])
    return bytes(example.SerializeToString(deterministic=True))


def _named(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refusal("INVALID_ARGUMENT", f"Feature: {shown(name)} is not Unicode text") from None
    return name


def _fill(feature: Any, name: str, values: list[Any]) -> None:
    kind = ""
    for value in values:
        found = _kind(name, value)
        if kind not in ("", found):
            raise Refusal(
                "INVALID_ARGUMENT", f"Unexpected element type in feature: {shown(name)} expecting type: {kind}"
            )
        kind = found
        if kind == "bytes":
            feature.bytes_list.value.append(text_or_bytes(value))
        elif kind == "float":
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(int(value))


def _kind(name: str, value: Any) -> str:
    if isinstance(value, str) or is_bytes(value):
        return "bytes"
    if isinstance(value, bool):
        return "int64"
    if isinstance(value, float):
        if abs(value) > _LARGEST_FLOAT and abs(value) != float("inf"):
            raise Refusal("INVALID_ARGUMENT", f"Cannot convert JSON value: {value} to float without loss of precision.")
        return "float"
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise Refusal("INVALID_ARGUMENT", f"Feature: {shown(name)} has an element that is no int64.")
        return "int64"
    raise Refusal("INVALID_ARGUMENT", f"Feature: {shown(name)} has element with unexpected JSON type: {shown(value)}")
