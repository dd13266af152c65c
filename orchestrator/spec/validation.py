"""From plain values to a validated model, or one message that names the field, its value, and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.errors import SpecError

_Model = TypeVar("_Model", bound=BaseModel)
_LONGEST_VALUE = 80


def validated(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    """Raises SpecError for the first field that is wrong."""
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
    """Refuse misspelt fields, and those of a comparison (`elsewhere`) in a run; before a job's code runs, which may
    take seconds."""
    for name in names:
        if name in elsewhere:
            raise SpecError(name, "belongs to a comparison: use `regatta compare`, or remove it")
        if name not in known:
            everything = [*known, *elsewhere]
            close = get_close_matches(name, everything, n=1)
            nearest = f" (did you mean {close[0]!r}?)" if close else ""
            raise SpecError(name, f"there is no such field{nearest}. Fields: {', '.join(everything)}")


def shown(value: object) -> str:
    """A value as a message quotes it, cut to one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; a list in a list in a list
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
