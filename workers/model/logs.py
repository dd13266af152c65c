"""Logged values as numbers with names: a metric that is a vector (F1Score by class) is its elements and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from itertools import product
from typing import Any

import numpy as np

MOST_ELEMENTS = 256
"""A larger value, such as a metric of a thousand classes, is logged as its mean only."""


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
