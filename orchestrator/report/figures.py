"""Parts of charts: Plotly figures as plain dicts, escaped labels, and axes.

The colours of text, background and grid are not in a figure: the page adds those of its theme (assets/report.js).
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.report.palette import NEUTRAL
from orchestrator.text import plain

_TEXT_PIXELS = 13.0
_PLOT = 900.0, 220.0
"""Width and height in pixels that a chart's plot has about in a wide window."""

Figure = dict[str, Any]
"""`data` and `layout`, as Plotly.js takes them, and `ends` if lines have their names at their ends."""


@dataclass(frozen=True)
class Choice:
    """A switch above a chart, between its figures."""

    name: str
    options: Sequence[tuple[str, str]]
    """Pairs of key and label."""


@dataclass(frozen=True)
class Chart:
    """A chart: one figure for every combination of choices, by the keys of the options joined with "|"."""

    title: str
    figures: Mapping[str, Figure]
    choices: Sequence[Choice] = ()
    height: int = 340
    caption: str = ""
    describes: str = ""
    """Description for screen readers."""
    scales: bool = False
    """Whether a reader can switch between a linear and a logarithmic axis of values."""
    smooths: bool = False
    """Whether a reader can have lines smoothed."""

    @property
    def is_empty(self) -> bool:
        return not any(figure["data"] for figure in self.figures.values())


@dataclass(frozen=True)
class Axis:
    """One axis of a figure."""

    title: str = ""
    log: bool = False
    span: tuple[float, float] | None = None
    ticks: Sequence[str] | None = None
    """Names at 0, 1, 2, ..., because Plotly takes names such as "1" or "2026-01" for numbers and dates."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def layout(self) -> dict[str, Any]:
        axis: dict[str, Any] = {"title": {"text": label(self.title, 60)}, "zeroline": False, "automargin": True}
        if self.log:
            axis["type"] = "log"
        if self.log and self.span is not None:
            ticks = log_ticks(self.span)
            axis |= {"tickmode": "array", "tickvals": list(ticks), "ticktext": list(ticks.values())}
        if self.span is not None:
            axis["range"] = [math.log10(end) for end in self.span] if self.log else list(self.span)
        if self.ticks is not None:
            axis |= {
                "tickmode": "array",
                "tickvals": list(range(len(self.ticks))),
                "ticktext": [label(name, 22) for name in self.ticks],
                "showgrid": False,
            }
        return axis | dict(self.extra)


def figure(data: Sequence[dict[str, Any]], x: Axis, y: Axis, **layout: Any) -> Figure:
    base = {
        "xaxis": x.layout(),
        "yaxis": y.layout(),
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "showlegend": False,
    }
    return {"data": list(data), "layout": {**base, **layout}}


def label(name: object, longest: int = 40) -> str:
    """A name, escaped for Plotly, which interprets `<b>` and `<a href>` in any text."""
    return html.escape(plain(name, longest), quote=False)


def short(values: Iterable[float | None]) -> list[float | None]:
    """Values with five significant digits; null if not finite, as JSON has no NaN."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.5g}") for v in values]


def log_ticks(span: tuple[float, float]) -> dict[float, str]:
    """Ticks of a logarithmic axis at 1, 2 and 5 of each decade, or 1 over a wide span. Plotly labels 0.02 as "2"."""
    low, high = (math.floor(math.log10(end)) for end in span)
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    decades = range(low, high + 1, max(1, (high - low) // 8))
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return {tick: f"{tick:g}" for tick in ticks if span[0] <= tick <= span[1]}


def span_of(values: Iterable[float], *, log: bool = False, room: float = 0.06) -> tuple[float, float] | None:
    """Ends of an axis that leave some room around the values; None without values."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if log:
        factor = max((high / low) ** room, 1.05)
        return low / factor, high * factor
    pad = (high - low) * room or abs(high) * room or 1.0
    return low - pad, high + pad


def end_labels(lines: Sequence[Mapping[str, Any]], span: tuple[float, float], *, log: bool) -> list[dict[str, Any]]:
    """Annotations: the name of each line at its right end, up to two lines of text away so that none overlap.

    A name for which there is no room is absent. The page shows them in wide windows (assets/report.js).
    """
    low, high = (math.log10(end) for end in span) if log else span
    ends = [(line["x"][-1], line["y"][-1], line) for line in lines if line["x"] and line["y"][-1] is not None]
    widest = max((x for x, _, _ in ends), default=0.0) or 1.0
    notes: list[dict[str, Any]] = []
    taken: list[tuple[float, float, float]] = []
    for x, y, line in sorted(ends, key=lambda end: end[0], reverse=True):
        text, value = label(line["meta"], 22), math.log10(y) if log else y
        left, width, at = _PLOT[0] * x / widest, 7.0 * len(text), _PLOT[1] * (value - low) / (high - low)
        for shift in (0, 1, -1, 2, -2):
            height = at + shift * _TEXT_PIXELS
            near = (abs(height - h) < _TEXT_PIXELS and left < x0 + w and x0 < left + width for x0, h, w in taken)
            if 0 <= height <= _PLOT[1] and not any(near):
                taken.append((left, height, width))
                font = {"color": line["line"]["color"], "size": 11}
                where = {"xanchor": "left", "xshift": 5, "yshift": round(shift * _TEXT_PIXELS), "showarrow": False}
                notes.append({"x": x, "y": value, "text": text, "font": font, "variant": line["meta"]} | where)
                break
    return notes


def horizontal_line(y: float, text: str) -> dict[str, Any]:
    """Layout `shapes` and `annotations` of a dashed line across the chart, with its name."""
    line = {"type": "line", "y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper"}
    line |= {"line": {"color": NEUTRAL, "width": 1, "dash": "dash"}}
    note = {"y": y, "x": 1, "xref": "paper", "text": label(text, 60), "showarrow": False}
    note |= {"xanchor": "right", "yanchor": "bottom", "font": {"size": 11, "color": NEUTRAL}}
    return {"shapes": [line], "annotations": [note]}
