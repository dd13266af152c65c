"""What a sweep searches: the grammar of `--param NAME=VALUES`, and which fields and params it may name. Pure.

learning_rate=log:1e-4..1e-1     any number between the two, each order of magnitude alike
dropout=0.1..0.5                 any number between the two
layers=2..6                      whole numbers, because both ends are
hidden=64,128,256                one of these

A script's argument is named by where it stands: `--param lr=0.1..0.5 -- --lr {lr}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.spec.sweep import ARGUMENT
from orchestrator.text import plain

FIELDS = (
    "learning_rate", "batch_size", "global_batch_size", "workers", "mode", "ps", "steps_per_call", "mixed_precision",
    "jit", "gpus_per_worker", "cpus_per_task",
)  # fmt: skip
"""Fields of a spec that a sweep may search: those that do not change what is trained on, or for how long."""
SHARED = ("learning_rate",)
"""Of these, those with which a launched group trains one value after another."""
TOGETHER = frozenset(FIELDS) - {"learning_rate", "mixed_precision", "jit"}
"""Fields whose values can each have a worker group at the same time, because one evaluator serves them all."""
PARAM = "params."
PLACE = re.compile(r"\{(\w+)\}")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?P<log>log:)?(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})")
_EXAMPLES = "log:1e-4..1e-1, 0.1..0.5, 2..6 or 64,128,256"


@dataclass(frozen=True)
class Range:
    """The numbers between two ends, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    """Only whole numbers."""

    def samples(self) -> list[float]:
        """Values by which it can be seen whether a job takes them."""
        return [int(end) if self.whole else end for end in (self.low, self.high)]


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: tuple[Any, ...]

    def samples(self) -> list[Any]:
        """All of them."""
        return list(self.values)


Values = Range | Choices


def shown_name(name: str) -> str:
    """A parameter as `--param` names it."""
    return name.removeprefix(PARAM).removeprefix(ARGUMENT)


def parse(name: str, text: str, *, plain_values: bool = True) -> Values:
    """The values that `text` describes, for the parameter `name`.

    Without `plain_values`, as for arguments of a script, those in a list are numbers only if a script would be given
    the same text.

    Raises:
        UsageError: it describes none.
    """
    text = text.strip()
    if match := _RANGE.fullmatch(text):
        return _range(name, match)
    if ".." in text or ":" in text.partition(",")[0][:4]:
        raise _refused(name, text, f"a range is written as LOW..HIGH or log:LOW..HIGH{_nearest(text)}")
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or not all(parts):
        raise _refused(name, text, f"give two values or more, as in {_example(parts[0])}, or a range")
    values = tuple(map(_value if plain_values else _as_written, parts))
    if len(set(map(repr, values))) < len(values):
        raise _refused(name, text, "a value is given twice")
    return Choices(values)


def check_names(names: Iterable[str], params: Iterable[str], job: str, args: Iterable[str] = ()) -> dict[str, str]:
    """The field, `params.x` or `args.x` that each of `names` means; `params` are those of the job, and `args` the
    arguments that a script is given.

    Raises:
        UsageError: the job has no such param, or two names mean the same.
    """
    known, placed = list(params), set(PLACE.findall(" ".join(args)))
    found: dict[str, str] = {}
    for name in names:
        plain_name = name.replace("-", "_")
        if name in placed:
            means = f"{ARGUMENT}{name}"
        elif plain_name in FIELDS:
            means = plain_name
        elif name.removeprefix(PARAM) in known:
            means = f"{PARAM}{name.removeprefix(PARAM)}"
        else:
            close = get_close_matches(name, [*known, *FIELDS], n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            if "args" in known:  # a script, which has no other
                hint += f"An argument of a script is searched where its name stands: -- --x {{{plain(name)}}}. "
            own = f"those of {plain(job)} are {', '.join(known)}" if known else f"{plain(job)} has none"
            raise UsageError(
                f"param: {plain(name)!r} is neither a parameter of the job nor a field that can be searched. {hint}"
                f"Parameters: {own}; fields: {', '.join(FIELDS)}."
            )
        if means in found.values():
            raise UsageError(f"param: {plain(name)} is given twice.")
        found[name] = means
    return found


def combinations(space: Mapping[str, Values]) -> list[dict[str, Any]] | None:
    """All combinations of the values that need a group of their own; None if such groups cannot share a session."""
    own = {name: values for name, values in space.items() if name not in SHARED}
    if not all(isinstance(values, Choices) and name in TOGETHER for name, values in own.items()):
        return None
    found: list[dict[str, Any]] = [{}]
    for name, values in own.items():
        found = [{**one, name: value} for one in found for value in values.samples()]
    return found


def _range(name: str, match: re.Match[str]) -> Range:
    low, high, log = float(match["low"]), float(match["high"]), match["log"] is not None
    whole = all(re.fullmatch(r"[-+]?\d+", match[end]) for end in ("low", "high"))
    if not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        raise _refused(name, match[0], f"the first number has to be smaller, as in {match['high']}..{match['low']}")
    if log and low <= 0:
        raise _refused(name, match[0], f"a logarithmic range begins above 0, as log:{high / 1000:g}..{high:g} does")
    return Range(low, high, log, whole)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _as_written(text: str) -> Any:
    value = _value(text)
    return value if str(value) == text else text


def _nearest(text: str) -> str:
    numbers = re.findall(_NUMBER, text.replace("..", " "))
    if len(numbers) < 2:
        return f", as in {_EXAMPLES}"
    return f", here {'log:' if text.startswith('log') else ''}{numbers[0]}..{numbers[1]}"


def _example(part: str) -> str:
    try:
        return f"{part},{float(part) * 2:g}"
    except ValueError:
        return _EXAMPLES


def _refused(name: str, text: str, why: str) -> UsageError:
    return UsageError(f"param: {plain(name)}={plain(text)} is not allowed: {why}.")
