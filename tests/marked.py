"""Marks of single parameters."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A parameter set whose tests run with `-m slow` only."""
    return pytest.param(*values, marks=pytest.mark.slow)


def fast(everything: Any, *kept: Any) -> list[Any]:
    """All values, of which only those `kept` are not slow."""
    return [value if value in kept else slow(value) for value in everything]
