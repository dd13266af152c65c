"""The section of report.html on what `regatta advise` had predicted of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from orchestrator.report.drawing import chip, section
from orchestrator.report.markup import Html, el, table
from orchestrator.report.palette import colours
from orchestrator.report.study import Study
from orchestrator.results import Judged
from orchestrator.text import MISSING, number


def predicted(study: Study) -> Html | None:
    """Measured against predicted, and the mean error of each quantity."""
    rows = None if study.comparison is None else study.comparison.predictions
    if not rows:
        return None
    colour = colours(study.modes)
    cells = [
        (chip(row.variant, colour.get(row.variant)), row.quantity.replace("_", " "), *judged_cells(row)) for row in rows
    ]
    head = ("variant", "quantity", "predicted", "measured", "error", "in its 90 % interval")
    return section(
        "Predicted and measured",
        el("p", ". ".join(mean_errors(rows) or ["Nothing could be judged"]) + "."),
        table(head, cells, numeric=(2, 3, 4)),
        id_="predictions",
    )


def judged_cells(row: Judged) -> tuple[str, str, str, str]:
    """Predicted, measured, the error, and whether the interval held; the reason where that is not known."""
    error = MISSING if row.error is None else f"{100 * row.error:+.0f} %"
    covered = (row.reason or MISSING) if row.covered is None else "yes" if row.covered else "no"
    return number(row.predicted, 3), number(row.measured, 3), error, covered


def mean_errors(rows: Sequence[Judged]) -> list[str]:
    """A sentence for each quantity that was judged."""
    found = []
    for quantity in dict.fromkeys(row.quantity for row in rows):
        mean = mean_error(rows, quantity)
        if mean is not None:
            found.append(f"Mean absolute error of {quantity.replace('_', ' ')}: {100 * mean:.0f} %")
    return found


def mean_error(rows: Sequence[Judged], quantity: str) -> float | None:
    """Mean absolute error of the predictions of `quantity`, as a share; None if none was judged."""
    errors = [abs(row.error) for row in rows if row.quantity == quantity and row.error is not None]
    return fmean(errors) if errors else None
