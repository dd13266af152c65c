"""More than 200 requests that no model can take: each is refused with a code and a short sentence."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest

from orchestrator.serving import examples, predict_json
from orchestrator.serving.json_body import parse
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import CLASSIFY, REGRESS, Signature, TensorType

pytestmark = pytest.mark.unit

NUMBERS = Signature({"x": TensorType("float32", (None, 3))}, {})
TWO = Signature({"a": TensorType("int32", (None,)), "b": TensorType("string", (None,))}, {})

NOT_JSON = [
    b"",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"nope",
    b"{",
    b"}",
    b"[",
    b'{"instances"}',
    b'{"instances":}',
    b'{"instances": [}',
    b'{"instances": [1,]}',
    b'{"instances": [1 2]}',
    b'{"instances": [01]}',
    b'{"instances": [+1]}',
    b'{"instances": [.5]}',
    b'{"instances": [1.]}',
    b'{"instances": [0x10]}',
    b'{"instances": [nan]}',
    b'{"instances": [inf]}',
    b"{'instances': [1]}",
    b"{instances: [1]}",
    b'{"instances": ["a\nb"]}',
    b'{"instances": ["\\x"]}',
    b'{"instances": ["\\u12"]}',
    b'{"instances": [[1,2,3]]} {}',
    b'{"instances": [[1,2,3]]}//',
    b'{"instances": [[1,2,3]], "instances": [[1,2,3]]}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"instances": [' + b"9" * 5000 + b"]}",
    b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"instances": ' + b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "{}".encode("utf-16"),
    '{"instances": [[1,2,3]]}'.encode("utf-16"),
    '{"instances": [[1,2,3]]}'.encode("utf-32"),
]
NO_OBJECT = [b"null", b"true", b"1", b"-1e5", b"NaN", b'"text"', b"[]", b"[[1,2,3]]", b'[{"instances": [[1,2,3]]}]']
NO_TENSORS: list[object] = [
    {},
    {"instance": [[1, 2, 3]]},
    {"Instances": [[1, 2, 3]]},
    {"signature_name": "serving_default"},
    {"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]},
    {"instances": []},
    {"instances": None},
    {"instances": {}},
    {"instances": {"x": [[1, 2, 3]]}},
    {"instances": "abc"},
    {"instances": 5},
    {"instances": True},
    {"instances": [[]]},
    {"instances": [{}]},
    {"instances": [{"y": [1, 2, 3]}]},
    {"instances": [{"x": [1, 2, 3], "y": 1}]},
    {"instances": [[1, 2, 3], {"x": [1, 2, 3]}]},
    {"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]},
    {"instances": [{"x": [1, 2, 3]}, {"b64": "AAAA"}]},
    {"instances": [{"x": [1, 2, 3]}, {}]},
    {"inputs": {}},
    {"inputs": {"y": [[1, 2, 3]]}},
    {"inputs": {"x": [[1, 2, 3]], "y": 1}},
    {"inputs": {"x": {"x": [[1, 2, 3]]}}},
    {"inputs": None},
    {"inputs": []},
    {"signature_name": 1, "instances": [[1, 2, 3]]},
    {"signature_name": None, "instances": [[1, 2, 3]]},
    {"signature_name": ["serving_default"], "instances": [[1, 2, 3]]},
]
BAD_VALUES: list[object] = [
    None,
    True,
    False,
    "1",
    "",
    "NaN",
    "Infinity",
    "\ud800",
    {},
    {"b64": "AAAA"},
    {"b64": 1},
    {"x": 1},
    [],
    [1],
    [[1]],
    16777217,
    -16777217,
    2**63,
    10**30 * 10**30,
    1e39,
    -1e39,
    1e308,
]
BAD_SHAPES: list[object] = [
    1,
    1.5,
    [1, 2, 3],
    [[1, 2]],
    [[1, 2, 3, 4]],
    [[[1, 2, 3]]],
    [[1, 2, 3], [1, 2]],
    [[1, 2, 3], [1, 2, 3, 4]],
    [[1, 2, 3], []],
    [[1, 2, 3], 1],
    [1, [1, 2, 3]],
    [[1, 2, [3]], [1, 2, 3]],
    [[1, 2, 3], [[1, 2, 3]]],
    [[[], [], []]],
    [[[1], [2], [3]]],
]
OF_TYPES: list[tuple[str, object]] = [
    *itertools.product(("int8", "uint8", "int16", "int32", "int64", "uint32", "uint64"), (1.0, 1.5, True, "1", None)),
    *itertools.product(("int8", "uint8", "int16", "int32", "int64"), (2**63, -(2**63) - 1, 2**64)),
    *itertools.product(("uint8", "uint32", "uint64"), (-1,)),
    *itertools.product(("bool",), (0, 1, 1.0, "true", None, [True], {})),
    *itertools.product(
        ("string",), (0, 1.5, True, None, {}, {"b64": "A"}, {"b64": "A==="}, {"b64": "A*A="}, {"b64": "é"})
    ),
    *itertools.product(("string",), ({"b64": None}, {"b64": "AAAA", "x": 1}, {"B64": "AAAA"}, "\ud800", ["a"])),
    *itertools.product(("bfloat16", "complex64", "resource", "variant", "qint8"), (1, "1")),
    ("float16", 65505.0),
    ("float16", 1e6),
    ("float64", 2**53),
    ("float64", "1e3"),
]
BAD_EXAMPLES: list[object] = [
    {},
    {"examples": None},
    {"examples": {}},
    {"examples": []},
    {"examples": [1]},
    {"examples": [[]]},
    {"examples": [None]},
    {"examples": [{"a": None}]},
    {"examples": [{"a": [None]}]},
    {"examples": [{"a": [[1]]}]},
    {"examples": [{"a": {}}]},
    {"examples": [{"a": [1, 1.5]}]},
    {"examples": [{"a": [1, "x"]}]},
    {"examples": [{"a": [1.5, "x"]}]},
    {"examples": [{"a": 2**63}]},
    {"examples": [{"a": 1e39}]},
    {"examples": [{"a": "\ud800"}]},
    {"examples": [{"\ud800": 1}]},
    {"examples": [{"a": {"b64": "A"}}]},
    {"context": 1, "examples": [{"a": 1}]},
    {"context": {"a": None}, "examples": [{"a": 1}]},
    {"instances": [[1, 2, 3]]},
]


def cases() -> list[tuple[str, bytes, Signature]]:
    def written(document: object) -> bytes:
        return json.dumps(document).encode()

    found = [(f"json-{place}", raw, NUMBERS) for place, raw in enumerate([*NOT_JSON, *NO_OBJECT])]
    found += [(f"keys-{place}", written(document), NUMBERS) for place, document in enumerate(NO_TENSORS)]
    for place, value in enumerate(BAD_VALUES):
        found.append((f"value-{place}", written({"instances": [[1.5, value, 3]]}), NUMBERS))
        found.append((f"column-{place}", written({"inputs": {"x": [[1.5, 2, 3], [1.5, 2, value]]}}), NUMBERS))
    for place, shape in enumerate(BAD_SHAPES):
        found.append((f"shape-{place}", written({"inputs": shape}), NUMBERS))
    for place, (dtype, value) in enumerate(OF_TYPES):
        found.append(
            (f"{dtype}-{place}", written({"inputs": [value]}), Signature({"x": TensorType(dtype, (None,))}, {}))
        )
    for place, rows in enumerate(
        ([1, 2], [[1, "a"]], [{"a": 1}], [{"a": 1, "b": "x", "c": 1}], [{"a": "x", "b": "x"}])
    ):
        found.append((f"two-{place}", written({"instances": rows}), TWO))
    for place, columns in enumerate(([1, 2], {"a": [1]}, {"a": [1], "b": ["x"], "c": []}, {"b64": "AA=="})):
        found.append((f"two-columns-{place}", written({"inputs": columns}), TWO))
    found.append(("overflow", b'{"instances": [[1e999, 2, 3]]}', NUMBERS))
    found.append(("overflow beside infinity", b'{"instances": [[1e999, Infinity, 3]]}', NUMBERS))
    return found


CASES = cases()


def test_there_are_enough() -> None:
    assert len(CASES) + 2 * len(BAD_EXAMPLES) > 250


def understood(raw: bytes, signature: Signature) -> None:
    body = parse(raw)
    assert body.signature
    predict_json.read(body, signature)


@pytest.mark.parametrize(("raw", "signature"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_is_refused(raw: bytes, signature: Signature) -> None:
    with pytest.raises(Refusal) as refused:
        understood(raw, signature)
    assert refused.value.http in (400, 501)
    assert 0 < len(refused.value.message) < 1500


@pytest.mark.parametrize("action", ["classify", "regress"])
@pytest.mark.parametrize("document", BAD_EXAMPLES)
def test_examples_are_refused(document: object, action: str) -> None:
    method = CLASSIFY if action == "classify" else REGRESS
    signature = Signature({"x": TensorType("string", (None,))}, {}, method)
    with pytest.raises(Refusal) as refused:
        examples.read(parse(json.dumps(document).encode()), signature, action)
    assert refused.value.http == 400


def test_one_long_string_among_numbers_takes_no_memory() -> None:
    """NumPy would give every element the length of the longest."""
    raw = json.dumps({"inputs": ["x" * 100_000, *[1] * 20_000]}).encode()
    body = parse(raw)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="not of expected type"):
            predict_json.read(body, NUMBERS)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
