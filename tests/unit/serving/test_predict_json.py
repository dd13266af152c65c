"""Requests of `:predict` that are answered, and the numbers in the answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from orchestrator.serving import predict_json
from orchestrator.serving.json_body import parse
from orchestrator.serving.numbers import to_json
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import Arrays, Signature, TensorType

pytestmark = pytest.mark.unit

THREE = Signature({"x": TensorType("float32", (None, 3))}, {"y": TensorType("float32", (None, 1))})
TWO = Signature(
    {"a": TensorType("int32", (None,)), "b": TensorType("string", (None, 2))}, {"y": TensorType("int32", (None,))}
)


def any_shape(dtype: str) -> Signature:
    return Signature({"x": TensorType(dtype, None)}, {})


def read(document: object, signature: Signature) -> Arrays:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return predict_json.read(parse(raw), signature)[0]


def test_the_tutorials_request() -> None:
    arrays, form = predict_json.read(parse(b'{"instances": [[1.0, 2.0, 3.0]]}'), THREE)
    assert form == "row"
    assert arrays["x"].dtype == np.float32
    assert arrays["x"].tolist() == [[1.0, 2.0, 3.0]]


def test_forms_of_two_inputs_agree() -> None:
    bytes_ = {"b64": "/wA="}
    rows = read({"instances": [{"a": 1, "b": ["x", bytes_]}, {"a": 2, "b": ["é", "y"]}]}, TWO)
    columns = read({"inputs": {"a": [1, 2], "b": [["x", bytes_], ["é", "y"]]}}, TWO)
    for name in ("a", "b"):
        assert rows[name].tolist() == columns[name].tolist()
    assert rows["b"].tolist() == [[b"x", b"\xff\x00"], ["é".encode(), b"y"]]


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("float32", "[1, 2.5, -3]", [1.0, 2.5, -3.0]),
        ("float32", "[16777215]", [16777215.0]),
        ("float32", "[16777217.0]", [16777216.0]),
        ("float32", "[1e-60]", [0.0]),
        ("float64", "[1e300, 9007199254740991]", [1e300, 9007199254740991.0]),
        ("float32", "[Infinity, -Infinity]", [float("inf"), float("-inf")]),
        ("float32", "[100000000000000000000]", [float(np.float32(1e20))]),
        ("float16", "[65504]", None),
        ("float16", "[65504.0]", [65504.0]),
        ("int8", "[-128, 127]", [-128, 127]),
        ("uint8", "[255]", [255]),
        ("int64", "[-9223372036854775808]", [-(2**63)]),
        ("uint64", "[18446744073709551615]", [2**64 - 1]),
        ("bool", "[true, false]", [True, False]),
        ("string", '["", "a\\u0000b"]', [b"", b"a\0b"]),
        ("string", '[{"b64": "_-8"}, {"b64": "/+8="}]', [b"\xff\xef", b"\xff\xef"]),
        ("float32", "[]", []),
        ("float32", "[[], []]", [[], []]),
        ("float32", "7", 7.0),
        ("string", '"text"', b"text"),
    ],
)
def test_values(dtype: str, text: str, expected: object) -> None:
    raw = f'{{"inputs": {text}}}'.encode()
    if expected is None:
        with pytest.raises(Refusal, match="without loss of precision"):
            read(raw, any_shape(dtype))
        return
    found = read(raw, any_shape(dtype))["x"]
    assert found.dtype == (object if dtype == "string" else dtype)
    assert found.tolist() == expected


def test_nan_arrives() -> None:
    assert np.isnan(read(b'{"instances": [[NaN, 1, 2]]}', THREE)["x"][0, 0])


def test_numbers_are_printed_as_tensorflow_serving_does() -> None:
    floats = np.array([0.1, 1, 9000000, 0.00003, 1 / 3, np.nan, np.inf, -np.inf, -0.0], np.float32)
    assert to_json("y", floats) == "[0.1, 1.0, 9e+06, 3e-05, 0.333333343, NaN, Infinity, -Infinity, -0.0]"
    assert to_json("y", np.array([[1, 2]], np.int64)) == "[[1, 2]]"
    assert to_json("y", np.array([True, False])) == "[true, false]"
    assert to_json("y", np.zeros((2, 0), np.float32)) == "[[], []]"
    assert to_json("y", np.float64(0.1) + np.zeros((), np.float64)) == "0.1"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_printed_numbers_are_the_numbers(dtype: type[np.floating]) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(dtype) * dtype(1000)
    assert np.array(json.loads(to_json("y", values)), dtype).tolist() == values.tolist()


def test_strings_and_bytes() -> None:
    assert to_json("y", np.array([b"a", "é".encode()], object)) == '["a", "\\u00e9"]'
    assert to_json("y_bytes", np.array([b"\xff"], object)) == '[{"b64": "/w=="}]'
    with pytest.raises(Refusal, match="not UTF-8"):
        to_json("y", np.array([b"\xff"], object))


def test_answers() -> None:
    one, two = {"y": np.array([[1], [2]])}, {"y": np.array([1, 2]), "z": np.array([3, 4])}
    assert json.loads(predict_json.write(one, "row")) == {"predictions": [[1], [2]]}
    assert json.loads(predict_json.write(one, "column")) == {"outputs": [[1], [2]]}
    assert json.loads(predict_json.write(two, "row")) == {"predictions": [{"y": 1, "z": 3}, {"y": 2, "z": 4}]}
    assert json.loads(predict_json.write(two, "column")) == {"outputs": {"y": [1, 2], "z": [3, 4]}}
    for uneven in ({"y": np.array(1)}, {"y": np.array([1]), "z": np.array([1, 2])}):
        with pytest.raises(Refusal, match="Tensor name"):
            predict_json.write(uneven, "row")
