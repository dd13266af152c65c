"""The messages of TensorFlow Serving's gRPC interface, made from a table of their published fields.

The packages that publish them, `tensorflow_serving.apis` and `tensorflow.core`, import TensorFlow, which the driver
never does. `serving/test_real_server.py` asks with them. The descriptors are in a pool of their own, so that
a process may import both.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_TABLE: dict[str, dict[str, tuple[int, str]]] = {
    "tensorflow.TensorShapeProto.Dim": {"size": (1, "int64"), "name": (2, "string")},
    "tensorflow.TensorShapeProto": {
        "dim": (2, "repeated tensorflow.TensorShapeProto.Dim"),
        "unknown_rank": (3, "bool"),
    },
    "tensorflow.TensorProto": {
        "dtype": (1, "int32"),  # an enum, whose values are sent as this
        "tensor_shape": (2, "tensorflow.TensorShapeProto"),
        "version_number": (3, "int32"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
        "half_val": (13, "repeated int32"),
        "uint32_val": (16, "repeated uint32"),
        "uint64_val": (17, "repeated uint64"),
    },
    "tensorflow.TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "tensorflow.TensorShapeProto"),
    },
    "tensorflow.SignatureDef": {
        "inputs": (1, "map tensorflow.TensorInfo"),
        "outputs": (2, "map tensorflow.TensorInfo"),
        "method_name": (3, "string"),
    },
    "tensorflow.BytesList": {"value": (1, "repeated bytes")},
    "tensorflow.FloatList": {"value": (1, "repeated float")},
    "tensorflow.Int64List": {"value": (1, "repeated int64")},
    "tensorflow.Feature": {
        "bytes_list": (1, "tensorflow.BytesList"),
        "float_list": (2, "tensorflow.FloatList"),
        "int64_list": (3, "tensorflow.Int64List"),
    },
    "tensorflow.Features": {"feature": (1, "map tensorflow.Feature")},
    "tensorflow.Example": {"features": (1, "tensorflow.Features")},
    "google.protobuf.Int64Value": {"value": (1, "int64")},
    "google.protobuf.Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "tensorflow.serving.ModelSpec": {
        "name": (1, "string"),
        "version": (2, "google.protobuf.Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "tensorflow.serving.PredictRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "inputs": (2, "map tensorflow.TensorProto"),
        "output_filter": (3, "repeated string"),
    },
    "tensorflow.serving.PredictResponse": {
        "outputs": (1, "map tensorflow.TensorProto"),
        "model_spec": (2, "tensorflow.serving.ModelSpec"),
    },
    "tensorflow.serving.GetModelMetadataRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "metadata_field": (2, "repeated string"),
    },
    "tensorflow.serving.GetModelMetadataResponse": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "metadata": (2, "map google.protobuf.Any"),
    },
    "tensorflow.serving.SignatureDefMap": {"signature_def": (1, "map tensorflow.SignatureDef")},
    "tensorflow.serving.GetModelStatusRequest": {"model_spec": (1, "tensorflow.serving.ModelSpec")},
    "tensorflow.serving.StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "tensorflow.serving.ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "tensorflow.serving.StatusProto"),
    },
    "tensorflow.serving.GetModelStatusResponse": {
        "model_version_status": (1, "repeated tensorflow.serving.ModelVersionStatus"),
    },
    "grpc.health.v1.HealthCheckRequest": {"service": (1, "string")},
    "grpc.health.v1.HealthCheckResponse": {"status": (1, "int32")},
}


def message(name: str) -> Any:
    """The class of a message, such as `tensorflow.serving.PredictRequest`."""
    return _classes()[name]


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for package in sorted({_package(name) for name in _TABLE}):
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        used = set()
        for name, fields in _TABLE.items():
            if _package(name) == package:
                used |= _add(file, name, fields)
        file.dependency.extend(f"{other}.proto" for other in sorted(used - {package}))
        pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _TABLE}


def _package(name: str) -> str:
    return next(
        package
        for package in ("tensorflow.serving", "tensorflow", "google.protobuf", "grpc.health.v1")
        if name.startswith(f"{package}.")
    )


def _add(file: Any, name: str, fields: dict[str, tuple[int, str]]) -> set[str]:
    """Add a message to the file; returns the packages that its fields are from."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    parts = name.removeprefix(f"{file.package}.").split(".")
    where = file.message_type if len(parts) == 1 else _named(file.message_type, parts[0]).nested_type
    made = _named(where, parts[-1])
    used = set()
    for field, (number, described) in fields.items():
        repeats, _, kind = described.rpartition(" ")
        added = made.field.add(name=field, number=number)
        added.label = FieldDescriptorProto.LABEL_REPEATED if repeats else FieldDescriptorProto.LABEL_OPTIONAL
        if repeats == "map":
            entry = made.nested_type.add(name=f"{''.join(part.title() for part in field.split('_'))}Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=1, type=FieldDescriptorProto.TYPE_STRING)
            value = entry.field.add(name="value", number=2, label=1)
            added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{name}.{entry.name}"
            added = value
        if "." in kind:
            added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{kind}"
            used.add(_package(kind))
        else:
            added.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
    return used


def _named(messages: Any, name: str) -> Any:
    for found in messages:
        if found.name == name:
            return found
    return messages.add(name=name)
