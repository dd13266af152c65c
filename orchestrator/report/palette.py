"""Colours of variants, the same in every chart and table; legible on white and on near-black."""

from __future__ import annotations

from collections.abc import Iterable

# Okabe & Ito's set for colour-blind readers (2008), darkened or lightened to a contrast of 3 on both backgrounds.
COLOURS = ("#2b7fd4", "#e0760a", "#0f9d74", "#cc4f94", "#8262cf", "#8d8b1c", "#1b9fb8", "#b4623a")
NEUTRAL = "#8a8f98"
DASHES = ("solid", "dash", "dot", "dashdot")


def colours(names: Iterable[str]) -> dict[str, str]:
    """Colours by order of the names: the baseline is blue. They repeat after eight names."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def faded(colour: str, share: float) -> str:
    """The colour with an opacity, as CSS and Plotly write it."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share:g})"


def dashes(names: Iterable[str]) -> dict[str, str]:
    """Plotly's kinds of line by order of the names, which tell apart those of one colour."""
    return {name: DASHES[index // len(COLOURS) % len(DASHES)] for index, name in enumerate(names)}
