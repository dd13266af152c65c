"""Judges `regatta advise`: `python -m benchmarks.foresight`, half an hour on two cores.

For each straggler profile a probe with one and two workers; then, with the predictions frozen, a run of each mode and
number of workers, which `regatta compare` sets against them. A mode at a time: many idle replicas of others cost time
too. The simulator is set against each of these runs as well, with the step times of that run. Workers are paced,
so that eight of them fit on two cores: a worker sleeps before each step, for multiples of `--step` seconds. Prints the
errors, and the regret of the mode that has most samples per second by the predictions. Saves rows as they are measured.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from benchmarks.machine import describe
from workers.modes.registry import traits

PROFILES = (
    "lognormal:sigma=0.0001",
    "lognormal:sigma=0.5",
    "transient:p=0.05,factor=10",
    "persistent:worker=1,factor=4",
)
"""In the first, all workers are equally slow."""
MODES = ("sync", "async", "dampened", "ssp:3", "kasync:2", "backup:1", "local:16")


def regatta(folder: Path, *words: str) -> Any:
    """The document of a command that a user types."""
    command = [sys.executable, "-m", "orchestrator.cli.main", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


def rows(
    folder: Path, profile: str, workers: Sequence[int], modes: Sequence[str], common: Sequence[str], minutes: float
) -> list[Any]:
    """Predicted and measured seconds per update of each mode and number of workers under one profile."""
    shared = (*common, "--target", "none", "--straggler", profile, "--quiet")
    wide = ("--workers-up-to", str(max(workers)), "--minutes", str(minutes))
    advice = regatta(folder, "advise", *shared, *wide, "--modes", ",".join(modes))
    typer.echo(f"{profile}: probe of {advice['probe']['seconds']:.0f} s")
    found = []
    for count, mode in itertools.product(workers, modes):
        asked = ("--modes", mode, "--workers", str(count), "--seeds", "1", "--predictions", advice["file"])
        comparison = regatta(folder, "compare", *shared, *asked, "--backend", "local")
        for row in comparison["predictions"]:
            if row["quantity"] == "update_seconds":
                run = comparison["modes"][row["variant"]]["runs"][0]
                own = {"samples_per_update": run["samples_per_update"], "simulated": simulated(folder, comparison, run)}
                found.append({"profile": profile, "workers": count} | own | row)
                typer.echo(_line(found[-1]))
    return found


def simulated(folder: Path, comparison: Any, run: Any) -> float | None:
    """Seconds of `run`, of `comparison`, by the simulator, from its own step times, over those that it took, less 1.

    None if it was too short for its step times to be read.
    """
    mode, count, steps = run["mode"], run["tasks"]["worker"], run["steps"]
    lockstep = traits(mode).lockstep
    each = ("--modes", mode, "--workers", str(count), "--steps", str(steps if lockstep else steps // count))
    exchange = () if lockstep else ("--exchange-ms", "0")  # which asynchronous workers count with their steps
    path = str(Path("runs", comparison["comparison_id"], "runs", run["run_id"]))
    try:
        document = regatta(folder, "simulate", "--from", path, *each, *exchange)
    except RuntimeError:
        return None
    seconds = document["rows"][0]["seconds"] + document["start_seconds"]
    return float(seconds / run["seconds"]["training"] - 1)


def _line(row: Any) -> str:
    errors = ("-" if error is None else f"{100 * error:+.1f} %" for error in (row["error"], row["simulated"]))
    cells = (row["profile"], row["workers"], row["variant"], _ms(row["predicted"]), _ms(row["measured"]), *errors)
    return f"| {' | '.join(map(str, cells))} |"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.2f}"


def summary(found: Sequence[Any]) -> list[str]:
    """Mean and worst error by mode and by profile, coverage, and regret."""
    known = [row for row in found if row["error"] is not None]
    lines = ["| | mean error | worst | in their interval |", "|---|---|---|---|"]
    for key in ("variant", "profile", "workers"):
        values = dict.fromkeys(row[key] for row in known)
        lines += [_errors(f"{key} {value}", [row for row in known if row[key] == value]) for value in values]
    lines.append(_errors("all", known))
    regrets = [
        regret(same)
        for profile in dict.fromkeys(row["profile"] for row in known)
        for count in dict.fromkeys(row["workers"] for row in known)
        if (same := [row for row in known if row["profile"] == profile and row["workers"] == count])
    ]
    mean, worst = 100 * fmean(regrets), 100 * max(regrets)
    lines.append(f"\nRegret over {len(regrets)} conditions: mean {mean:.1f} %, worst {worst:.1f} %")
    again = [abs(row["simulated"]) for row in known if row["simulated"] is not None]
    if again:
        lines.append(f"Simulated from their own steps, {len(again)} runs: mean {100 * fmean(again):.1f} %")
    return lines


def _errors(name: str, known: Sequence[Any]) -> str:
    errors = [abs(row["error"]) for row in known]
    covered = fmean(row["covered"] for row in known)
    return f"| {name} | {100 * fmean(errors):.1f} % | {100 * max(errors):.1f} % | {100 * covered:.0f} % |"


def regret(same: Sequence[Any]) -> float:
    """By how much the mode that was predicted to be the fastest is slower than the fastest."""

    def rate(row: Any, seconds: str) -> float:
        return float(row["samples_per_update"] / row[seconds])

    chosen = max(same, key=lambda row: rate(row, "predicted"))
    return max(rate(row, "measured") for row in same) / rate(chosen, "measured") - 1


def main(
    job: Annotated[str, typer.Option()] = "digits",
    profiles: Annotated[str, typer.Option(help="Straggler profiles, separated by semicolons.")] = ";".join(PROFILES),
    modes: Annotated[str, typer.Option()] = ",".join(MODES),
    workers: Annotated[str, typer.Option()] = "2,3,4,6,8",
    step: Annotated[float, typer.Option(help="Seconds that a paced step takes.")] = 0.06,
    samples: Annotated[int, typer.Option(help="Samples of each run.")] = 12_800,
    minutes: Annotated[float, typer.Option(help="Minutes of a probe.")] = 1.5,
    out: Annotated[Path, typer.Option(help="File for the rows.")] = Path("benchmarks-out/foresight.json"),
) -> None:
    """Measure, print and save the errors."""
    out.parent.mkdir(parents=True, exist_ok=True)
    common = (job, "--samples", str(samples), "--eval-every", str(samples))
    found: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="regatta-foresight-") as folder:
        for profile in profiles.split(";"):
            paced = profile if profile == "none" else f"{profile},step={step:g}"
            counts = [int(count) for count in workers.split(",")]
            found += rows(Path(folder), paced, counts, modes.split(","), common, minutes)
            document = {"machine": describe(), "samples": samples, "rows": found}
            out.write_text(json.dumps(document, indent=2) + "\n")
    typer.echo("\n".join(summary(found)))


if __name__ == "__main__":
    typer.run(main)
