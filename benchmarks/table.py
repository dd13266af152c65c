"""Formats records and outcomes as Markdown, for the terminal and for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.records import Outcome, Record, Spread, by_contender, paired_ratio, spread

_SIGN = {"least": "≥", "most": "≤"}


def markdown(records: Sequence[Record], outcomes: Sequence[Outcome], machine: Mapping[str, Any], began: str) -> str:
    """Format the machine, the goals, and every figure with its contenders in the order in which they ran."""
    parts = [_machine(records, machine, began)]
    if outcomes:
        parts.append(_goals(outcomes))
    figures = dict.fromkeys(record.figure for record in records)
    parts += [_figure(records, figure) for figure in figures]
    return "\n\n".join(parts) + "\n"


def _machine(records: Sequence[Record], machine: Mapping[str, Any], began: str) -> str:
    named = ", ".join(f"{name} {value}" for name, value in machine.items())
    loads = [record.load for record in records]
    load = f" Load average before each repetition: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    return f"{began}; {named}.{load}"


def _goals(outcomes: Sequence[Outcome]) -> str:
    rows = [
        (
            outcome.claim.title,
            outcome.against or "",
            ranged(outcome.value),
            f"{_SIGN[outcome.claim.at]} {outcome.claim.goal:g}",
            "yes" if outcome.met else "no",
        )
        for outcome in outcomes
    ]
    return _rows(("goal", "against", "measured", "wanted", "met"), rows)


def _figure(records: Sequence[Record], figure: str) -> str:
    contenders = by_contender(records, figure)
    first = next(iter(contenders.values()))
    rows = []
    for name, measured in contenders.items():
        ratio = paired_ratio(measured, first) if measured[0].unit == first[0].unit else None
        loads = [record.load for record in measured]
        rows.append(
            (
                name,
                ranged(spread([record.value for record in measured])),
                measured[0].unit,
                f"{len(measured)}",
                "" if measured is first or ratio is None else ranged(ratio),
                f"{min(loads):.0f}-{max(loads):.0f}",
            )
        )
    heading = (figure, "median [range]", "unit", "n", "to the first", "load")
    return _rows(heading, rows)


def ranged(value: Spread) -> str:
    """Format a spread as `4.2 [3.9, 4.4]`, or as the number if there is only one value."""
    if value.count == 1:
        return number(value.median)
    return f"{number(value.median)} [{number(value.low)}, {number(value.high)}]"


def number(value: float) -> str:
    """Format with three significant digits; from 1,000 on, as an integer."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _rows(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
