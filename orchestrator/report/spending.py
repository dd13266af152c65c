"""Where the time went: the parts of the elapsed seconds of every variant side by side, and its launch apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.report.figures import Axis, Chart, figure, short
from orchestrator.report.study import Study
from orchestrator.results import Parts, RunResult
from orchestrator.text import plain, seconds

COLOURS = {
    "compute": "#4878a8",
    "exchange": "#c9802b",
    "input": "#3f8f8a",
    "callbacks": "#c4544f",
    "validation": "#94648a",
    "checkpoint": "#5a8a48",
    "recovery": "#7a4b3a",
    "other": "#9aa1ab",
}
"""Parts, in the order of `Parts`, and their colours, which suit both themes and are no variant's."""
NOTE = (
    "Means of the runs. Elapsed counts everything from the moment a group is compiled and loaded to the end of "
    "training. A part without a value could not be told apart, and is in other. Launch occurs once per variant."
)
_LEAST_SHARE = 0.005
"""Parts below half a percent in all variants have no column at the terminal."""


class Spending(NamedTuple):
    """Mean seconds of the runs of a variant; None where no run was measured."""

    elapsed: float | None
    parts: Mapping[str, float | None]
    launch: float | None


def spending(runs: Iterable[RunResult]) -> Spending:
    timed = [run.seconds for run in runs]
    parts = {part: _mean(getattr(one.parts, part) for one in timed) for part in Parts.model_fields}
    return Spending(_mean(one.spent for one in timed), parts, _mean(one.launch for one in timed))


def spending_table(
    results: Mapping[str, Sequence[RunResult]], *, short: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Head and rows, a row per variant; `short` leaves out the parts that hardly count. No rows if none was timed."""
    spent = {name: spending(runs) for name, runs in results.items()}
    if all(one.parts["other"] is None for one in spent.values()):
        return [], []
    shown = [part for part in COLOURS if not short or any(_counts(one, part) for one in spent.values())]
    rows = [
        [plain(name), seconds(one.elapsed), *(seconds(one.parts[part]) for part in shown), seconds(one.launch)]
        for name, one in spent.items()
    ]
    return ["variant", "elapsed", *shown, "launch"], rows


def spending_text(result: RunResult) -> str:
    """`5.20 s: compute 4.10 s, callbacks 1.10 s`, without the parts that hardly count."""
    spent = spending([result])
    parts = [f"{part} {seconds(spent.parts[part])}" for part in COLOURS if _counts(spent, part)]
    return f"{seconds(spent.elapsed)}{': ' if parts else ''}{', '.join(parts)}"


def spending_chart(study: Study) -> Chart:
    """A bar per variant, divided into its parts."""
    names = list(study.modes)[::-1]
    spent = {name: spending(study.results[name]) for name in names}
    data = []
    for part, colour in COLOURS.items():
        values = [spent[name].parts[part] for name in names]
        if any(values):
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": part,
                    "x": short(values),
                    "y": list(range(len(names))),
                    "text": ["" if value is None else f"{part} {seconds(value)}" for value in values],
                    "textposition": "inside",
                    "insidetextanchor": "middle",
                    "insidetextfont": {"color": "#ffffff"},
                    "textangle": 0,
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"color": colour},
                    "width": 0.55,
                }
            )
    chart = figure(
        data,
        Axis("elapsed seconds", extra={"rangemode": "tozero"}),
        Axis(ticks=names, span=(-0.6, len(names) - 0.4)),
        barmode="stack",
        uniformtext={"minsize": 11, "mode": "hide"},
        bargap=0.4,
        showlegend=True,
    )
    return Chart(
        "Where the time went",
        {"": chart},
        height=120 + 52 * len(names),
        caption=NOTE,
        describes="Parts of the elapsed seconds of every variant",
    )


def _counts(spent: Spending, part: str) -> bool:
    value = spent.parts[part]
    return value is not None and value > _LEAST_SHARE * (spent.elapsed or 0.0)


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(measured) if measured else None
