"""Compares what a `fit` is called with when it is trained to what it was called with when the run was planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.scripts.errors import ScriptError

_IN_FIT = {"epochs": "epochs", "global_batch_size": "batch_size", "eval_steps": "validation_steps"}
"""The arguments of `fit`, by the field of the spec that they are."""


def check(
    now: Mapping[str, float], as_tried: Sequence[Mapping[str, float | None]], fit: int, script: str, *, is_earlier: bool
) -> None:
    """Raise ScriptError if `fit` number `fit` is called with other numbers than those its run was planned for.

    `as_tried` are these for all fits; what the user has chosen instead is not among them. `is_earlier`: the fit is
    not the judged one, whose numbers the user can choose.
    """
    planned = as_tried[fit - 1] if fit <= len(as_tried) else {}
    other = [field for field in _IN_FIT if field in planned and now.get(field) != planned[field]]
    if not other:
        return
    before, after = (
        ", ".join(f"{_IN_FIT[field]}={_number(found.get(field))}" for field in other) for found in (planned, now)
    )
    flags = " ".join(f"--{field.replace('_', '-')} {_number(now.get(field), 'N')}" for field in other)
    earlier = "A fit before the last has to be called with the same numbers every time."
    raise ScriptError(
        f"fit {fit} of {script} was called with {before} when the run was planned, for which the fits before it saw "
        f"one batch, and is now called with {after}. " + (earlier if is_earlier else f"Give {flags} to train it so.")
    )


def _number(value: float | None, missing: str = "None") -> str:
    return missing if value is None else f"{value:g}"
