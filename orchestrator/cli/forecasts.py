"""Text of what was simulated, predicted and judged, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli.tables import print_rows
from orchestrator.text import MISSING, dollars, factor, number, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.results import Judged


def print_simulation(document: dict[str, Any], console: Console) -> None:
    """Print the rows of a simulation, and what it assumed."""
    rows = [("MODE", "WORKERS", "UPDATES/S", "BATCHES/S", "SPEEDUP", "WAITING", "STALENESS")]
    for row in document["rows"]:
        waiting = MISSING if row["waiting"] is None else f"{100 * row['waiting']:.0f} %"
        cells = (number(row["updates_per_s"]), number(row["batches_per_s"]), factor(row["speedup"]), waiting)
        stale = number(row["staleness"], 3) if row["reason"] is None else row["reason"]
        rows.append((row["mode"], f"{row['workers']:,}", *cells, stale))
    print_rows(rows, console)
    says = (
        f"\nSteps of {number(document['step_ms'], 3)} ms, exchanges of {number(document['exchange_ms'], 3)} ms, "
        f"stragglers: {document['straggler']}; {document['steps']:,} steps of each worker, which has a core of its "
        "own. Speedup is in batches per second, over one process."
    )
    if document["start_seconds"]:
        says += f" The run lost {number(document['start_seconds'], 2)} s at its start, which are not counted here."
    console.print(says, markup=False, highlight=False)


def print_advice(document: Mapping[str, Any], console: Console) -> None:
    """Print predictions, the recommendation, and where it would change."""
    from orchestrator.report.advice import gain_text, sentences

    rows = [("MODE", "WORKERS", "PER UPDATE", "SAMPLES/S", "SPEEDUP", "TO TARGET", "GAIN", "PRICE")]
    shown = [row for row in document["predictions"] if row["mode"] != document["predictions"][0]["mode"]]
    for row in (document["predictions"][0], *shown):
        sizes = (f"{row['workers']}", f"{row['samples_per_update']:,}")
        rates = (number(row["samples_per_s"]["value"], 3), factor(row["speedup"]["value"]))
        times = (_time(row["seconds_to_target"]), gain_text(row["gain"]), dollars(row["cost"]))
        rows.append((row["mode"], *sizes, *rates, *times))
    print_rows(rows, console)
    for line in ("", *sentences(document)):
        console.print(line, markup=False, highlight=False)


def print_judged(rows: Sequence[Judged], console: Console) -> None:
    """Print measured against predicted, and the mean error of each quantity."""
    from orchestrator.report.judged import judged_cells, mean_errors

    table = [("VARIANT", "QUANTITY", "PREDICTED", "MEASURED", "ERROR", "IN INTERVAL")]
    table += [(row.variant, row.quantity.replace("_", " "), *judged_cells(row)) for row in rows]
    console.print()
    print_rows(table, console)
    for sentence in mean_errors(rows):
        console.print(sentence, markup=False, highlight=False)


def _time(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return MISSING
    return f"{seconds(found['value'])} [{number(found['low'], 3)}, {number(found['high'], 3)}]"
