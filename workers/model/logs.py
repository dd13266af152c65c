"""Logged values as numbers with names: a metric that is a vector (F1Score by class) is its elements and their mean.

Names of metrics come from the job's code, or from what it read, and become tags in TensorBoard, keys in MLflow, columns
of reports and lines on terminals. So they are cleaned once, where they leave the process; callbacks get them unchanged.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from itertools import chain, count, product
from typing import Any

import numpy as np

from workers.session import say

MOST_ELEMENTS = 256
"""A larger value, such as a metric of a thousand classes, is logged as its mean only."""

LONGEST_NAME = 200
_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of control characters, bidirectional overrides, lone surrogates and line separators."""


@lru_cache(maxsize=64)
def reported_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as they are reported, in the same order, and said in the task's log where one is changed.

    They have at most `LONGEST_NAME` characters, no control characters, and no part between slashes that is empty or
    consists of dots, which a file or a URL would take for a folder. Two that become equal are told apart by a number.
    """
    clean = {name: name for name in names if _clean(name) == name}
    for name in names:
        if name not in clean:
            base, taken = _clean(name), set(clean.values())
            numbered = (f"{base[: LONGEST_NAME - 8]}_{number}" for number in count(2))
            clean[name] = next(one for one in chain([base], numbered) if one not in taken)
            say(f"the metric {name[:LONGEST_NAME]!a} is reported as {clean[name]}")
    return tuple(clean[name] for name in names)


def reported(values: Mapping[str, float]) -> dict[str, float]:
    """`values` under their reported names."""
    return dict(zip(reported_names(tuple(values)), values.values(), strict=True))


def _clean(name: str) -> str:
    visible = "".join("_" if unicodedata.category(one) in _CONTROLS else one for one in name[:LONGEST_NAME])
    return "/".join(part if part.strip(" .") else "_" for part in visible.split("/"))


def element_names(name: str, shape: Sequence[int], taken: Set[str]) -> list[str]:
    """Names for the elements of a value: `f1_score_0`, `f1_score_1`; empty if there are more than `MOST_ELEMENTS`.

    Keras calls the second metric of a class `f1_score_1`. If one of these is `taken`, all are `f1_score_element_0`.
    """
    if math.prod(shape) > MOST_ELEMENTS:
        return []
    indices = ["_".join(map(str, index)) for index in product(*map(range, shape))]
    names = [f"{name}_{index}" for index in indices]
    return names if taken.isdisjoint(names) else [f"{name}_element_{index}" for index in indices]


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What `evaluate` returned, as floats. A value that is no number is left out."""
    found: dict[str, float] = {}
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or not array.size:
            continue
        found[name] = float(array.mean(dtype=np.float64)) if array.ndim else float(array)
        if array.ndim:
            names = element_names(name, array.shape, set(values))
            found |= dict(zip(names, map(float, array.ravel()), strict=False)) if names else {}
    return found
