"""TensorFlow's TensorProto to NumPy and back, and signatures as messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.serving.messages import message
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import AnyArray, Description, Signature, TensorType

NUMBERS = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "string": 7,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "bfloat16": 14,
    "uint16": 17,
    "complex128": 18,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}
"""Values of TensorFlow's enum DataType."""
ENUM_NAMES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
_NAMES = {number: name for name, number in NUMBERS.items()}
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "float16": "half_val",
    **dict.fromkeys(("int32", "int16", "int8", "uint8", "uint16"), "int_val"),
}
_MOST_ELEMENTS = 1 << 26


def from_proto(name: str, proto: Any, wanted: TensorType) -> AnyArray:
    """The tensor of the input `name`.

    Raises:
        Refusal: its type is not the signature's, or it has fewer or more values than its shape says.
    """
    dtype = _NAMES.get(proto.dtype, f"number {proto.dtype}")
    if dtype != wanted.dtype:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} is of type {dtype}, and the signature takes {wanted.dtype}.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    count = 1
    for size in shape:
        if size < 0:
            raise Refusal("INVALID_ARGUMENT", f"Input {name} has the shape {list(shape)}.")
        count *= size
    if proto.tensor_shape.unknown_rank or count > _MOST_ELEMENTS or len(shape) > 32:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} has no shape, or one that is too large: {list(shape)}.")
    if dtype == "string":
        strings = np.empty(count, object)
        strings[:] = _expanded(name, list(proto.string_val), count, b"")
        return strings.reshape(shape)
    if dtype not in _FIELDS:
        raise Refusal("UNIMPLEMENTED", f"Input {name} is of type {dtype}, which is not served.")
    if proto.tensor_content:
        if len(proto.tensor_content) != count * np.dtype(dtype).itemsize:
            raise Refusal("INVALID_ARGUMENT", f"Input {name} has {len(proto.tensor_content)} bytes of content.")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = getattr(proto, _FIELDS[dtype])
    if dtype == "float16":
        content = np.asarray(values, np.int64).astype(np.uint16).view(np.float16)
    else:
        content = np.asarray(values, np.dtype(dtype) if len(values) == 0 else None).astype(dtype)
    return np.asarray(_expanded(name, content, count, 0), dtype).reshape(shape)


def _expanded(name: str, values: Any, count: int, zero: Any) -> Any:
    """As TensorFlow does: the last value is repeated where there are too few."""
    if len(values) > count or (len(values) == 0 and count > 0 and zero == b""):
        raise Refusal("INVALID_ARGUMENT", f"Input {name} has {len(values)} values where its shape needs {count}.")
    if len(values) == count:
        return values
    last = values[-1] if len(values) else zero
    return [*values, *[last] * (count - len(values))]


def to_proto(array: AnyArray) -> Any:
    """The message of a tensor; raises Refusal for types that the interface does not have."""
    proto = message("tensorflow.TensorProto")()
    dtype = "string" if array.dtype.kind == "O" else str(array.dtype)
    if dtype not in NUMBERS:
        raise Refusal("UNIMPLEMENTED", f"An output is of type {dtype}, which is not served.")
    proto.dtype = NUMBERS[dtype]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == "string":
        proto.string_val.extend(array.reshape(-1).tolist())
    elif dtype in _FIELDS and dtype != "float16":
        # As fields, as TensorFlow Serving does by default: clients read `outputs["y"].float_val`.
        getattr(proto, _FIELDS[dtype]).extend(array.reshape(-1).tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def signature_map(description: Description) -> Any:
    """The SignatureDefMap of a model."""
    found = message("tensorflow.serving.SignatureDefMap")()
    for name, signature in sorted(description.signatures.items()):
        entry = found.signature_def[name]
        entry.method_name = signature.method
        for target, tensors in ((entry.inputs, signature.inputs), (entry.outputs, signature.outputs)):
            for key, tensor in sorted(tensors.items()):
                _fill(target[key], tensor)
    return found


def _fill(info: Any, tensor: TensorType) -> None:
    info.name = tensor.tensor
    info.dtype = NUMBERS.get(tensor.dtype, 0)
    if tensor.shape is None:
        info.tensor_shape.unknown_rank = True
    else:
        for size in tensor.shape:
            info.tensor_shape.dim.add(size=-1 if size is None else size)


def signature_json(signature: Signature) -> dict[str, Any]:
    """A signature as the REST interface shows it."""

    def shown(tensor: TensorType) -> dict[str, Any]:
        sizes = [{"size": str(-1 if n is None else n), "name": ""} for n in tensor.shape or ()]
        return {
            "dtype": ENUM_NAMES.get(tensor.dtype, f"DT_{tensor.dtype.upper()}"),
            "tensor_shape": {"dim": sizes, "unknown_rank": tensor.shape is None},
            "name": tensor.tensor,
        }

    return {
        "inputs": {name: shown(tensor) for name, tensor in signature.inputs.items()},
        "outputs": {name: shown(tensor) for name, tensor in signature.outputs.items()},
        "method_name": signature.method,
    }
