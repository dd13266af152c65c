"""Compares the modes under stragglers: `python -m benchmarks.conditions`, an hour and a half on two cores.

For each condition, one comparison of all modes by their time to target, and one of as many samples in each mode by
their quality at the end. Workers are paced: before each step a worker sleeps for a multiple of 20 ms, so that eight of
them fit on two cores. Seeds take turns in groups that are launched once, so that a row's ratios are of one machine.
Prints a table per condition, and saves the rows.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import describe
from orchestrator.verdict.statistics import Estimate, equivalence, geometric_mean_ratio, paired_difference

CONDITIONS: Mapping[str, str] = {
    "transient": "transient:p=0.05,factor=10",
    "persistent": "persistent:worker=1,factor=4",
    "paced": "lognormal:sigma=0.0001",
}
"""Straggler profiles by name. In the last one all workers are equally slow."""
MODES = ("sync", "async", "backup:1", "backup:2", "kasync:4", "ssp:4", "dampened", "local:4", "local:16")
"""Chosen before any was measured; the baseline first. `switch` is left out, because its change costs a launch."""
MARGIN = 0.005
"""Accuracies less than half a point apart count as equal."""
QUALITY_SAMPLES = 48_000


@dataclass(frozen=True)
class Row:
    """One mode under one condition; ratios and differences are to `sync`, with 95 % intervals, paired by seed."""

    condition: str
    mode: str
    reached: int
    """Runs that reached the target."""
    seconds: float | None
    """Geometric mean of the seconds to the target; null if a run missed it."""
    sooner: tuple[float, float, float] | None
    throughput: tuple[float, float, float] | None
    accuracy: float | None
    """Mean at the end of as many samples as `sync` had."""
    difference: tuple[float, float, float] | None
    equal_p: float | None
    """TOST's p-value of "accuracies differ by half a point or more"."""


def compared(straggler: str, workers: int, seeds: int, modes: Sequence[str], *ending: str) -> Mapping[str, Any]:
    """The runs of each mode, from one comparison by the command that a user types."""
    command = [
        sys.executable, "-m", "orchestrator.cli.main", "compare", "digits", "--workers", str(workers),
        "--seeds", str(seeds), "--modes", ",".join(modes), "--straggler", straggler, "--backend", "local",
        "--json", "--quiet", *ending,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="regatta-conditions-") as folder:
        done = subprocess.run([*command, "--out", f"{folder}/out"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{straggler}: {done.stderr}")
    return {name: mode["runs"] for name, mode in json.loads(done.stdout)["modes"].items()}


def rows(condition: str, workers: int, seeds: int) -> list[Row]:
    """Measure one condition."""
    straggler = CONDITIONS[condition]
    contest = compared(straggler, workers, seeds, MODES)
    same = compared(straggler, workers, seeds, MODES, "--target", "none", "--samples", str(QUALITY_SAMPLES))
    return [_row(condition, mode, contest, same) for mode in MODES]


def _row(condition: str, mode: str, contest: Mapping[str, Any], same: Mapping[str, Any]) -> Row:
    base = MODES[0]
    times, base_times = ([run["target"]["seconds"] for run in contest[name]] for name in (mode, base))
    found = [time for time in times if time is not None]
    accuracy, base_accuracy = ([run["final"]["val_accuracy"] for run in same[name]] for name in (mode, base))
    speed, base_speed = ([run["throughput"]["samples_per_s"] for run in same[name]] for name in (mode, base))
    complete = len(found) == len(times) and None not in base_times
    return Row(
        condition,
        mode,
        len(found),
        math.exp(sum(map(math.log, found)) / len(found)) if len(found) == len(times) else None,
        _bounds(geometric_mean_ratio(base_times, times)) if complete else None,
        _bounds(geometric_mean_ratio(speed, base_speed)),
        sum(accuracy) / len(accuracy),
        _bounds(paired_difference(accuracy, base_accuracy)),
        equivalence(accuracy, base_accuracy, MARGIN),
    )


def _bounds(estimate: Estimate) -> tuple[float, float, float] | None:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return estimate.value, estimate.low, estimate.high


def markdown(found: Sequence[Row]) -> str:
    """A table of one condition's rows."""
    lines = [
        "| mode | reached | seconds to target | sooner than sync | samples/s over sync | accuracy | less sync, points "
        "| equal (TOST) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        accuracy = "-" if row.accuracy is None else f"{row.accuracy:.4f}"
        equal = "-" if row.equal_p is None else f"{'yes' if row.equal_p < 0.05 else 'not shown'}, p = {row.equal_p:.3f}"
        lines.append(
            f"| `{row.mode}` | {row.reached} | {'-' if row.seconds is None else f'{row.seconds:.2f}'} "
            f"| {_shown(row.sooner)} | {_shown(row.throughput)} | {accuracy} | {_shown(row.difference, 100)} "
            f"| {'' if row.mode == MODES[0] else equal} |"
        )
    return "\n".join(lines)


def _shown(bounds: tuple[float, float, float] | None, factor: float = 1) -> str:
    if bounds is None:
        return "-"
    value, low, high = (factor * each for each in bounds)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def main(
    only: Annotated[str, typer.Option(help="Conditions to measure.")] = ",".join(CONDITIONS),
    workers: Annotated[int, typer.Option(min=2)] = 8,
    seeds: Annotated[int, typer.Option(min=2)] = 5,
    out: Annotated[Path, typer.Option(help="Folder for conditions.json and conditions.md.")] = Path("benchmarks-out"),
) -> None:
    """Measure, print and save the tables."""
    out.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    tables: list[str] = []
    for condition in only.split(","):
        new = rows(condition, workers, seeds)
        found += new
        tables += [f"`{CONDITIONS[condition]}`, {workers} workers, {seeds} seeds\n", markdown(new), ""]
        typer.echo("\n".join(tables[-3:]))
        document = {"machine": describe(), "workers": workers, "seeds": seeds, "rows": [asdict(row) for row in found]}
        (out / "conditions.json").write_text(json.dumps(document, indent=2) + "\n")
        (out / "conditions.md").write_text("\n".join(tables))


if __name__ == "__main__":
    typer.run(main)
