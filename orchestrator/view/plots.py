"""Curves of the loss and of one evaluation metric, drawn with block characters where a terminal is tall enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.view.board import Board, Curve

_BLOCKS, _ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:|#"
_NUMBERS = 11
"""Characters to the left of a plot, for its highest and lowest value."""
LEAST_HEIGHT, MOST_HEIGHT = 5, 16


def plots(board: Board, width: int, height: int, *, plain: bool = False) -> list[str]:
    """Lines of the plots of `board`: side by side in `width` characters, or the loss alone where there is no metric."""
    shown = [("training loss", board.loss)] + [(f"{board.metric}", board.scores)] * bool(board.scores.last is not None)
    each = (width - 3 * (len(shown) - 1)) // len(shown)
    drawn = [[f"{'':{_NUMBERS}}{title}", *plot(curve, each, height - 1, plain=plain)] for title, curve in shown]
    return ["   ".join(f"{line[:each]:{each}}" for line in lines) for lines in zip(*drawn, strict=True)]


def plot(curve: Curve, width: int, height: int, *, plain: bool = False) -> list[str]:
    """`height` lines of `width` characters, with the ends of the axis; logarithmic where values span a decade."""
    blocks = _ASCII_BLOCKS if plain else _BLOCKS
    values = _stretched(curve.columns(width - _NUMBERS), width - _NUMBERS)
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return [""] * height
    low, high = min(known), max(known)
    scale = math.log if low > 0 and high >= 10 * low else float
    bottom, top = scale(low), scale(high)
    steps = len(blocks) - 1
    lines = []
    for row in reversed(range(height)):
        line = ""
        for value in values:
            if not math.isfinite(value):
                line += "!"
                continue
            # Halved, because the difference of two floats can overflow.
            share = (scale(value) / 2 - bottom / 2) / (top / 2 - bottom / 2) if top > bottom else 0.5
            filled = round(share * (height * steps - 1)) + 1 - row * steps
            line += blocks[max(0, min(steps, filled))]
        number = {height - 1: f"{high:.3g}", 0: f"{low:.3g}"}.get(row, "")
        lines.append(f"{number:>{_NUMBERS - 1}} {line}")
    return lines


def _stretched(values: Sequence[float], count: int) -> list[float]:
    """The values repeated so that they fill `count` columns."""
    return [values[i * len(values) // count] for i in range(count)] if values else []
