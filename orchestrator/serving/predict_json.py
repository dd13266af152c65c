"""Requests and answers of `:predict`, in row form (`instances`) and in column form (`inputs`)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from orchestrator.serving.json_body import Body
from orchestrator.serving.refusal import Refusal, shown
from orchestrator.serving.signature import Arrays, Signature, printed_shape
from orchestrator.serving.values import is_bytes, to_tensor

Form = Literal["row", "column"]


def read(body: Body, signature: Signature) -> tuple[Arrays, Form]:
    """The inputs of a request, and the form that its answer has.

    Raises:
        Refusal: both forms or none, an input is missing, unknown or of another type or shape than the signature's.
    """
    fields = body.fields
    if "instances" in fields and "inputs" in fields:
        raise Refusal(
            "INVALID_ARGUMENT",
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
        )
    if "instances" in fields:
        arrays = _rows(fields["instances"], signature, body)
        form: Form = "row"
    elif "inputs" in fields:
        arrays, form = _columns(fields["inputs"], signature, body), "column"
    else:
        raise Refusal("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")
    check_shapes(arrays, signature)
    return arrays, form


def check_shapes(arrays: Arrays, signature: Signature) -> None:
    """Refuse tensors that do not fit: joined with other requests, they would fail those as well."""
    for name, array in arrays.items():
        wanted = signature.inputs[name]
        if not wanted.takes(array.shape):
            raise Refusal(
                "INVALID_ARGUMENT",
                f"Input {name} has shape {printed_shape(array.shape)}, and the signature takes {wanted.printed}.",
            )


def _rows(rows: Any, signature: Signature, body: Body) -> Arrays:
    if not isinstance(rows, list):
        raise Refusal("INVALID_ARGUMENT", f"JSON Value: {shown(rows)} Excepting 'instances' to be an list/array")
    if not rows:
        raise Refusal("INVALID_ARGUMENT", "No values in 'instances' array")
    named = isinstance(rows[0], dict) and not is_bytes(rows[0])
    if not named and len(signature.inputs) > 1:
        raise Refusal(
            "INVALID_ARGUMENT",
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        )
    for place, row in enumerate(rows):
        is_object = isinstance(row, dict) and not is_bytes(row)
        if named and not is_object:
            raise Refusal("INVALID_ARGUMENT", f"Expecting object but got list at item {place} of input list")
        if is_object and not named:
            raise Refusal("INVALID_ARGUMENT", f"Expecting value/list but got object at item {place} of input list")
        if named and row.keys() != signature.inputs.keys():
            raise Refusal(
                "INVALID_ARGUMENT",
                f"Failed to process element: {place} of 'instances' list. JSON object: {shown(row)} keys must be "
                f"equal to: {','.join(sorted(signature.inputs))}",
            )
    if named:
        return {name: to_tensor([row[name] for row in rows], wanted, body) for name, wanted in signature.inputs.items()}
    ((name, wanted),) = signature.inputs.items()
    return {name: to_tensor(rows, wanted, body)}


def _columns(columns: Any, signature: Signature, body: Body) -> Arrays:
    if not isinstance(columns, dict) or is_bytes(columns):
        if len(signature.inputs) > 1:
            raise Refusal(
                "INVALID_ARGUMENT",
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map",
            )
        ((name, wanted),) = signature.inputs.items()
        return {name: to_tensor(columns, wanted, body)}
    for name in signature.inputs:
        if name not in columns:
            raise Refusal("INVALID_ARGUMENT", f"Missing named input: {name} in 'inputs' object.")
    if unknown := sorted(columns.keys() - signature.inputs.keys()):
        raise Refusal(
            "INVALID_ARGUMENT",
            f"JSON object: does not have named input: {shown(unknown[0])}; the signature has "
            f"{','.join(sorted(signature.inputs))}",
        )
    return {name: to_tensor(columns[name], wanted, body) for name, wanted in signature.inputs.items()}


def write(outputs: Arrays, form: Form) -> bytes:
    """The answer, as JSON: plain values if there is one output, else by name.

    Raises:
        Refusal: in row form, if the outputs do not have one row for each instance; a type that JSON does not have.
    """
    from orchestrator.serving.numbers import to_json

    if form == "column":
        if len(outputs) == 1:
            ((name, array),) = outputs.items()
            return f'{{"outputs": {to_json(name, array)}}}'.encode()
        texts = (f"{shown(name)}: {to_json(name, array)}" for name, array in sorted(outputs.items()))
        return f'{{"outputs": {{{", ".join(texts)}}}}}'.encode()
    _check_rows(outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return f'{{"predictions": {to_json(name, array)}}}'.encode()
    names = sorted(outputs)
    rows = [
        "{" + ", ".join(f"{shown(name)}: {to_json(name, np.asarray(outputs[name][row]))}" for name in names) + "}"
        for row in range(len(outputs[names[0]]))
    ]
    return f'{{"predictions": [{", ".join(rows)}]}}'.encode()


def _check_rows(outputs: Arrays) -> None:
    rows: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise Refusal("INVALID_ARGUMENT", f"Tensor name: {name} has no shape information ")
        if rows not in (None, len(array)):
            raise Refusal(
                "INVALID_ARGUMENT",
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}",
            )
        rows = len(array)
