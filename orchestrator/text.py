"""Names and numbers as text for people: names without control characters, short numbers, and "-" for null."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from typing import TypeGuard

MISSING = "-"
_LONGEST = 2000
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of control characters, bidirectional overrides, lone surrogates and line separators."""


def plain(value: object, longest: int = _LONGEST) -> str:
    """One line of text, in which characters that move the cursor, reverse text or break lines are spelled out.

    Job names, labels and findings come from other people's code and files.
    """
    text = str(value)
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return "".join(_visible(c) for c in text)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in UNSEEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can represent
        return False


def number(value: float | None, digits: int = 4) -> str:
    """`0.9722`, `0.9700`, `12,345`, `1.2e-05`; also "nan" and "inf", which are measurements."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1000:
        return f"{value:#.{digits}g}".removesuffix(".")
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.{digits - 1}g}"


def seconds(value: float | None) -> str:
    """`0.29 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 120:
        return f"{value:.{2 if value < 9.995 else 1}f} s"
    if value < 7200:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} min"


def dollars(value: float | None) -> str:
    return MISSING if value is None else f"${number(value, 3)}"


_NOT_YET = "NVML has not answered yet"
"""The sampler's note until NVML's answer, which follows."""


def unavailable(notes: Iterable[str | None]) -> str:
    """`not available (NVML library not found)`, with the reasons in the sampler's notes."""
    parts = (part.removeprefix("GPU: ") for note in notes if note for part in note.split("; "))
    reasons = dict.fromkeys(part.removeprefix("not available (").removesuffix(")") for part in parts)
    final = [reason for reason in reasons if reason != _NOT_YET] or list(reasons)
    return f"not available ({'; '.join(final)})" if final else "not available"


def gibibytes(value: float | None) -> str:
    return MISSING if value is None else f"{value / 2**30:.2f} GiB"


def factor(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`2.9x [2.8, 3.0]`, without the interval if there is none."""
    if value is None:
        return MISSING
    places = 2 if value < 2 else 1 if value < 100 else 0
    if low is None or high is None:
        return f"{value:.{places}f}x"
    top = f"{high:.{places}f}" if high < 1000 else ">1000"
    return f"{value:.{places}f}x [{low:.{places}f}, {top}]"


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
