"""Text of what was simulated, predicted and judged, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli.tables import print_rows
from orchestrator.text import MISSING, dollars, factor, number, plural, seconds

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
    console.print(says, markup=False, highlight=False)


def print_advice(document: Mapping[str, Any], console: Console) -> None:
    """Print predictions, the recommendation, and where it would change."""
    rows = [("MODE", "WORKERS", "PER UPDATE", "SAMPLES/S", "SPEEDUP", "TO TARGET", "GAIN", "PRICE")]
    shown = [row for row in document["predictions"] if row["mode"] != document["predictions"][0]["mode"]]
    for row in (document["predictions"][0], *shown):
        sizes = (f"{row['workers']}", f"{row['samples_per_update']:,}")
        rates = (number(row["samples_per_s"]["value"], 3), factor(row["speedup"]["value"]))
        times = (_time(row["seconds_to_target"]), _gain(row["gain"]), dollars(row["cost"]))
        rows.append((row["mode"], *sizes, *rates, *times))
    print_rows(rows, console)
    for line in _explained(document):
        console.print(line, markup=False, highlight=False)


def _explained(document: Mapping[str, Any]) -> list[str]:
    probe, advice = document["probe"], document["recommendation"]
    lines = [
        "",
        f"Predicted with 90 % intervals for {probe['cores']:g} cores, which all tasks share. Speedup is in samples per "
        "second, gain in time to the target, both over one process.",
    ]
    reason = document["predictions"][0]["seconds_to_target"]["reason"]
    if reason:
        lines.append(f"No time to a target: {reason}.")
    if advice is None:
        lines.append("No recommendation: no mode with several workers could be predicted.")
    elif advice["distribute"]:
        workers = plural(advice["workers"], "worker")
        each = f"{advice['samples_per_update']:,} samples per update"
        lines.append(
            f"Recommended: {advice['mode']} with {workers}, {each}: {_gain(advice['gain'])} in {advice['by']}."
        )
    else:
        near = advice["nearest"]
        best = f"{near['mode']} with {plural(near['workers'], 'worker')} would be {factor(near['gain'])} as fast"
        lines.append(
            f"Recommended: do not distribute. {best} as one process in {advice['by']}: slower, or within the error."
        )
    lines += [f"- {tip}." for tip in document["tips"]]
    age = "an earlier probe, used again" if probe["reused"] else f"a probe of {seconds(probe['seconds'])}"
    lines.append(f"From {age} ({probe['folder']}). Judge it: regatta compare ... --predictions {document['file']}")
    return lines


def print_judged(rows: Sequence[Judged], console: Console) -> None:
    """Print measured against predicted, and the mean error of each quantity."""
    from orchestrator.foresight.predictions import mean_error

    table = [("VARIANT", "QUANTITY", "PREDICTED", "MEASURED", "ERROR", "IN INTERVAL")]
    for row in rows:
        error = MISSING if row.error is None else f"{100 * row.error:+.0f} %"
        covered = (row.reason or MISSING) if row.covered is None else "yes" if row.covered else "no"
        name = row.quantity.replace("_", " ")
        table.append((row.variant, name, number(row.predicted, 3), number(row.measured, 3), error, covered))
    console.print()
    print_rows(table, console)
    for quantity in dict.fromkeys(row.quantity for row in rows):
        mean = mean_error(rows, quantity)
        if mean is not None:
            text = f"Mean absolute error of {quantity.replace('_', ' ')}: {100 * mean:.0f} %"
            console.print(text, markup=False, highlight=False)


def _time(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return MISSING
    return f"{seconds(found['value'])} [{number(found['low'], 3)}, {number(found['high'], 3)}]"


def _gain(found: Mapping[str, Any]) -> str:
    return factor(found["value"], found["low"], found["high"])
