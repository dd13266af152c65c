"""Names of modes with their numbers, such as `local:16,outer=nesterov`: a family, its main number, and options.

A number stands in the name because a comparison compares names: `local:4` and `local:64` are two variants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Whole:
    """A whole number of at least `least`."""

    least: int
    meaning: str

    pattern = "[0-9]+"

    @property
    def form(self) -> str:
        return f"a whole number of at least {self.least}"

    def parse(self, text: str) -> int:
        if not re.fullmatch("0|[1-9][0-9]{0,8}", text) or int(text) < self.least:
            raise ValueError(self.form)
        return int(text)


@dataclass(frozen=True)
class Real:
    """A number within `least` and `most`."""

    least: float
    most: float
    meaning: str
    default: float

    @property
    def form(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    def parse(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(self.form) from None
        if not self.least <= value <= self.most:
            raise ValueError(self.form)
        return value


@dataclass(frozen=True)
class Share:
    """A decimal number from 0 to 1."""

    meaning: str

    pattern = r"[01](\.[0-9]+)?"
    form = "a number from 0 to 1, such as 0.25"

    def parse(self, text: str) -> float:
        if not re.fullmatch(r"0|1|0\.[0-9]{0,8}[1-9]", text):  # one mode, one name
            raise ValueError(self.form)
        return float(text)

    def nearest(self, text: str) -> float | None:
        """The share that was probably meant; None if `text` is not a number."""
        try:
            value = float(text)
        except ValueError:
            return None
        return None if math.isnan(value) else round(min(1.0, max(0.0, value)), 4)


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    words: tuple[str, ...]
    meaning: str
    default: str

    @property
    def form(self) -> str:
        return " or ".join(self.words)

    def parse(self, text: str) -> str:
        if text not in self.words:
            raise ValueError(self.form)
        return text


@dataclass(frozen=True)
class NameForm:
    """What the names of a family of modes carry besides the family."""

    number: Whole | Share | None = None
    """The number after the colon, which has to be given."""
    example: float = 0
    """A number to begin with."""
    options: Mapping[str, Real | Choice] = field(default_factory=dict)
    """What may follow, as `key=value` after commas."""

    def shortest(self, family: str) -> str:
        """The shortest valid name, with the number to begin with."""
        return family if self.number is None else f"{family}:{self.example:g}"

    def pattern(self, family: str) -> str:
        """A regular expression for the names, for JSON Schema."""
        number = "" if self.number is None else f":{self.number.pattern}"
        options = f"(,({'|'.join(self.options)})=[^,]+)*" if self.options else ""
        return f"^{family}{number}{options}$"

    def parse(self, name: str) -> dict[str, Any]:
        """The values that `name` carries: its number as `number`, and the options, with their defaults.

        Raises:
            ValueError: the name is not of this form; the message says what is wrong and which name is valid.
        """
        head, *parts = name.split(",")
        family, colon, number = head.partition(":")
        found: dict[str, Any] = {key: option.default for key, option in self.options.items()}
        if self.number is not None:
            try:
                found["number"] = self.number.parse(number)
            except ValueError as error:
                near = self.number.nearest(number) if isinstance(self.number, Share) else None
                valid = self.shortest(family) if near is None else f"{family}:{near:g}"
                raise ValueError(f"{valid!r}, with {self.number.meaning} after the colon: {error}") from None
        elif colon:
            raise ValueError(f"{family!r}, which takes no number")
        given: set[str] = set()
        for part in parts:
            key, _, value = part.partition("=")
            if key not in self.options or key in given:
                raise ValueError(f"{head!r}, with options such as {self._known()}, each at most once")
            given.add(key)
            try:
                found[key] = self.options[key].parse(value)
            except ValueError as error:
                raise ValueError(f"{key} in it is {self.options[key].meaning}: {error}") from None
        return found

    def _known(self) -> str:
        return ", ".join(f"{key}={option.default}" for key, option in self.options.items()) or "none at all"


def split(names: str) -> list[str]:
    """Split a list of names at its commas, but not at those in front of an option.

    `sync,local:16,outer=nesterov` are two modes.
    """
    found: list[str] = []
    for part in names.split(","):
        if "=" in part and found:
            found[-1] += f",{part.strip()}"
        else:
            found.append(part.strip())
    return found
