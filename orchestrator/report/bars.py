"""Charts of the time of every run, and of staleness."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.report.figures import Axis, Chart, figure, label, short
from orchestrator.report.palette import colours, faded
from orchestrator.report.series import staleness_shares
from orchestrator.report.standing import median_of
from orchestrator.report.study import Study
from orchestrator.text import seconds
from orchestrator.verdict.evidence import plan_race, race_points

_MOST_BARS = 40


def time_chart(study: Study) -> Chart:
    """A dot for every run: seconds to the target, or to the end of training; a miss is a cross at the horizon."""
    race = plan_race(study.results)
    scale, unit = (1000.0, "seconds per 1,000 samples") if race.kind == "rate" else (1.0, "elapsed seconds")
    names = list(study.modes)[::-1]
    colour = colours(study.modes)
    data: list[dict[str, Any]] = []
    for row, name in enumerate(names):
        points = race_points(study.results[name], race)
        for missed in (False, True):
            chosen = [point for point in points if point.bad == missed]
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": short(point.value * scale for point in chosen),
                    "y": [row] * len(chosen),
                    "text": [f"seed {p.seed}: {'missed' if missed else seconds(p.value * scale)}" for p in chosen],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {
                        "color": faded(colour[name], 0.85),
                        "size": 11,
                        "symbol": "x-thin-open" if missed else "circle",
                        "line": {"width": 2 if missed else 0, "color": colour[name]},
                    },
                }
            )
        median = median_of(points)
        if median is not None:
            data.append(_tick(median * scale, row, colour[name]))
    title = f"Time to {race.goal}" if race.kind == "target" else "Time for the same samples"
    title = "Time per sample" if race.kind == "rate" else title
    crosses = f" A cross is a run that missed, at the horizon of {seconds(race.horizon)}."
    return Chart(
        title,
        {"": figure([d for d in data if d["x"]], _from_zero(unit), _rows(names))},
        height=90 + 52 * len(names),
        caption="Each dot is a run, and each bar the median of a variant."
        + (crosses if any(p.bad for r in study.results.values() for p in race_points(r, race)) else ""),
        describes=f"{title}, for every run",
    )


def staleness_chart(study: Study) -> Chart:
    """Histogram of staleness: the number of updates by other workers between reading weights and updating them."""
    colour = colours(study.modes)
    shares = {name: staleness_shares(list(runs)) for name, runs in study.modes.items()}
    shares = {name: share for name, share in shares.items() if share}
    most = max((max(share) for share in shares.values()), default=0)
    width = max(1, math.ceil((most + 1) / _MOST_BARS))
    data = []
    for name, share in shares.items():
        bins: dict[int, float] = {}
        for value, part in share.items():
            bins[value // width] = bins.get(value // width, 0.0) + part
        data.append(
            {
                "type": "bar",
                "name": label(name),
                "meta": name,
                "x": [bin_ * width for bin_ in bins],
                "y": short(100 * part for part in bins.values()),
                "marker": {"color": colour[name]},
                "hovertemplate": "%{y:.1f} % of updates<extra></extra>",
            }
        )
    ticks: dict[str, Any] = {"showgrid": False} | ({"dtick": 1} if most <= 12 else {})
    title = "updates by other workers in between" + (f" (bars of {width})" if width > 1 else "")
    x, y = Axis(title, extra=ticks), Axis("% of updates", extra={"rangemode": "tozero"})
    return Chart(
        "Share of updates",
        {"": figure(data, x, y, showlegend=len(data) > 1, bargap=0.25)},
        height=280,
        describes="Histogram of staleness",
    )


def _from_zero(title: str) -> Axis:
    return Axis(title, extra={"rangemode": "tozero"})


def _rows(names: list[str]) -> Axis:
    return Axis(ticks=names, span=(-0.6, len(names) - 0.4))


def _tick(x: float, row: int, colour: str) -> dict[str, Any]:
    """A median: a short vertical bar."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": short([x, x]),
        "y": [row - 0.3, row + 0.3],
        "line": {"color": colour, "width": 3},
        "hovertemplate": f"median {seconds(x)}<extra></extra>",
    }
