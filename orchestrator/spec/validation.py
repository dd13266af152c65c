"""Validates plain values, with error messages that name the field, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.errors import SpecError

_Model = TypeVar("_Model", bound=BaseModel)
_LONGEST_VALUE = 80


def validated(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    """`values` as a `model`. Raises SpecError for the first invalid field."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "spec"
        if first["type"] == "extra_forbidden":
            raise SpecError(field, "there is no such field") from None
        allowed = first["msg"].removeprefix("Value error, ").replace("tuple", "list").replace("Tuple", "List")
        raise SpecError(field, f"{shown(first['input'])} is not allowed: {allowed}") from None


def check_names(names: Iterable[str], known: Sequence[str], elsewhere: Sequence[str] = ()) -> None:
    """Raises SpecError for a name that is not among `known` fields; those of a comparison are `elsewhere`."""
    for name in names:
        if name in elsewhere:
            raise SpecError(name, "belongs to a comparison: use `regatta compare`, or remove it")
        if name not in known:
            fields = [*known, *elsewhere]
            close = get_close_matches(name, fields, n=1)
            suggestion = f" (did you mean {close[0]!r}?)" if close else ""
            raise SpecError(name, f"there is no such field{suggestion}. Fields: {', '.join(fields)}")


def shown(value: object) -> str:
    """`value` as quoted in a message, cut to one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with thousands of digits, or deeply nested lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
