"""Requests with numbers only are read by a faster parser, and mean the same as those that Python's reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.serving import json_body, predict_json
from orchestrator.serving.refusal import Refusal
from orchestrator.serving.signature import Signature, TensorType

pytestmark = pytest.mark.unit

EDGES = [sign + text for sign in ("", "-") for text in (
    *("0", "0.0", "1", "127", "128", "255", "256", "2047", "2048", "32768", "65504", "65505", "65520.0", "1e400"),
    *("16777215", "16777216", "16777217", "16777217.0", "2147483647", "2147483648", "9007199254740991"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"),
    *("3.4e38", "3.5e38", "1e-60", "1.7e308", "100000000000000000000", "0.1", "1" * 5000, "1" * 400 + ".0"),
)]  # fmt: skip
NUMBERS = st.one_of(st.sampled_from(EDGES), st.floats(allow_nan=False, allow_infinity=False).map(repr))
OTHERS = st.sampled_from(["NaN", "-Infinity", "true", "null", '"text"', '{"b64": "AA=="}', "{}", "01", "1.", "[]"])
VALUES = st.recursive(
    st.one_of(NUMBERS, NUMBERS, NUMBERS, OTHERS),
    lambda parts: st.lists(parts, max_size=3).map(lambda texts: f"[{', '.join(texts)}]"),
    max_leaves=6,
)
TYPES = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64", "bool", "string")


def outcome(raw: bytes, dtype: str) -> tuple[object, ...]:
    """The type, shape and bytes of what is read, or that it is refused."""
    signature = Signature({"x": TensorType(dtype, None)}, {})
    try:
        arrays, form = predict_json.read(json_body.parse(raw), signature)
    except Refusal as refusal:
        return (refusal.status,)
    found = arrays["x"]
    return form, str(found.dtype), found.shape, found.tolist() if dtype == "string" else found.tobytes()


def by_python(call: Callable[[], tuple[object, ...]]) -> tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_without_strings", lambda _: None)
        return call()


@given(VALUES, st.sampled_from(TYPES), st.sampled_from(["inputs", "instances"]))
@example("[" * 2000 + "1" + "]" * 2000, "float32", "inputs")
@example("[[1, 2], [3]]", "float32", "inputs")
@example("[1, 2.5]", "int32", "inputs")
@example("[-9223372036854775808]", "int64", "inputs")
@example("[-9223372036854775808]", "float32", "inputs")
def test_both_ways_agree(value: str, dtype: str, form: str) -> None:
    raw = f'{{"{form}": {value}}}'.encode()
    assert outcome(raw, dtype) == by_python(lambda: outcome(raw, dtype))


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": [1], "inputs": [2]}',
        '{"signature_name": "a", "signature_name": "b", "inputs": [1]}',
        '{"instances": [{"x": 1, "x": 2}]}',
    ],
)
def test_repeated_keys_are_refused(text: str) -> None:
    with pytest.raises(Refusal, match="is given twice"):
        json_body.parse(text.encode())


@pytest.mark.parametrize(("text", "quickly"), [('{"instances": [[1, 2.5]]}', True), ('{"inputs": {"x": 1}}', False)])
def test_the_faster_way_is_taken(text: str, quickly: bool) -> None:
    assert json_body.parse(text.encode()).only_numbers is quickly
