"""Parts of report.html: a section, a chart with its switches, and the name of a variant with its colour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from orchestrator.report.figures import Chart
from orchestrator.report.markup import Child, Html, data_block, el
from orchestrator.report.palette import NEUTRAL
from orchestrator.text import plain


def section(title: str, *children: Child, id_: str) -> Html:
    return el("section", el("h2", title), *children, id=id_)


def chip(name: str, colour: str | None) -> Html:
    """A square of the variant's colour, and its name."""
    return el("span", el("i", style=f"background:{colour or NEUTRAL}"), plain(name, 40), class_="chip")


def variant_filter(names: Iterable[str], colour: Mapping[str, str]) -> Html:
    """Buttons that hide variants in all charts of curves."""
    buttons = (
        el("button", chip(name, colour[name]), type="button", data_variant=name, aria_pressed="true") for name in names
    )
    return el("div", "Show: ", buttons, class_="filter", role="group", aria_label="variants that are shown")


def drawn(chart: Chart, empty: str | None = None) -> Html:
    """A chart with its title, switches and data; the sentence `empty` if there is nothing to draw."""
    if chart.is_empty:
        return el("p", empty or f"{chart.title}: not available.", class_="note")
    name = re.sub(r"\W+", "-", chart.title).strip("-").lower()
    switches = [
        el(
            "div",
            (
                el("button", label, type="button", data_key=key, aria_pressed="false" if i else "true")
                for i, (key, label) in enumerate(choice.options)
            ),
            class_="switch",
            role="group",
            aria_label=choice.name,
        )
        for choice in chart.choices
    ]
    if chart.scales:
        switches.append(el("div", el("button", "Log", type="button"), class_="scale", role="group", aria_label="scale"))
    if chart.smooths:
        smooth = el("button", "Smooth", type="button", aria_pressed="false")
        switches.append(el("div", smooth, class_="smooth", role="group", aria_label="lines"))
    return el(
        "figure",
        el("div", el("h3", chart.title), switches, class_="chart-head"),
        el(
            "div",
            class_="chart",
            id=f"chart-{name}",
            data_figures=f"data-{name}",
            style=f"height:{chart.height}px",
            role="img",
            aria_label=chart.describes or chart.title,
        ),
        el("figcaption", chart.caption) if chart.caption else None,
        data_block(f"data-{name}", chart.figures),
    )
