"""Numbers and names as text for people."""

from __future__ import annotations

import pytest

from orchestrator.text import factor, is_number, number, plain, seconds, unavailable

pytestmark = pytest.mark.unit


def test_numbers() -> None:
    given = (None, 0, 0.97, 277.0, 12345.6, 1e-5)
    assert [number(value) for value in given] == ["-", "0", "0.9700", "277.0", "12,346", "1e-05"]
    assert [seconds(x) for x in (None, 0.291, 30, 250, 7380)] == ["-", "0.29 s", "30.0 s", "4 min 10 s", "2 h 03 min"]
    assert factor(2.9, 2.8, 3.0) == "2.9x [2.8, 3.0]"


def test_reasons_why_something_is_not_available() -> None:
    assert unavailable([None]) == "not available"
    assert unavailable(["GPU: no driver", "GPU: no driver", None]) == "not available (no driver)"
    assert unavailable(["GPU: not available (no library)"]) == "not available (no library)"


def test_control_characters_are_spelled_out() -> None:
    assert plain("a\x1b[2J\u202eb\ud800\n") == "a\\x1b[2J\\u202eb\\ud800\\x0a"
    assert len(plain("x" * 5000)) == 2000


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0.5, True), (10**400, False), (float("nan"), False), (True, False), ("1", False), (None, False)],
    ids=lambda value: str(value)[:9],
)
def test_finite_numbers(value: object, expected: bool) -> None:
    assert is_number(value) is expected


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ([], "not available"),
        ([None], "not available"),
        (["GPU: NVML has not answered yet"], "not available (NVML has not answered yet)"),
        (
            ["GPU: NVML has not answered yet; GPU: not available (NVML library not found)"],
            "not available (NVML library not found)",
        ),
        (
            ["GPU: not available (no driver)", "GPU: not available (NVML library not found)"],
            "not available (no driver; NVML library not found)",
        ),
    ],
)
def test_why_there_is_no_gpu_is_said_once(notes: list[str | None], words: str) -> None:
    assert unavailable(notes) == words
