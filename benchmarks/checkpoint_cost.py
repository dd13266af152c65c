"""Measures the cost of checkpoints: training throughput with one every two seconds, relative to none.

    python -m benchmarks.checkpoint_cost --pairs 5

Runs come in pairs, with and without checkpoints in alternating order, each in a newly launched group. Every two seconds
is fifteen times as often as the default of 30, so that ten seconds of training show a cost; the cost at the default
interval is printed as well, as a fifteenth of it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.api import run
from orchestrator.spec.run import RunSpec

MODES = ("sync", "async")
OFTEN, BY_DEFAULT = 2.0, 30.0
"""Seconds between checkpoints."""


def samples_per_s(mode: str, samples: int, hidden: int, seconds: float, folder: Path) -> float:
    """Throughput of a run in a new group, with a checkpoint every `seconds` seconds; 0 for none."""
    spec = RunSpec.make(
        {
            "job": "digits",
            "mode": mode,
            "params": {"hidden": hidden},
            "samples": samples,
            "eval_every": samples,
            "checkpoint_seconds": seconds,
            "out": str(folder / f"{mode}-{time.monotonic_ns()}"),
        }
    )
    return run(spec, resolved=True).throughput.samples_per_s or 0.0


def main(
    pairs: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Approximate training time per run.")] = 10.0,
    hidden: Annotated[int, typer.Option(help="Hidden units, which set a checkpoint's size.")] = 1024,
) -> None:
    """Measure, and print one line per mode."""
    with tempfile.TemporaryDirectory(prefix="regatta-checkpoints-") as name:
        folder = Path(name)
        for mode in MODES:
            samples = max(10_000, int(seconds * samples_per_s(mode, 50_000, hidden, 0, folder)))
            ratios = []
            for pair in range(pairs):
                order = (OFTEN, 0.0) if pair % 2 == 0 else (0.0, OFTEN)
                rates = {every: samples_per_s(mode, samples, hidden, every, folder) for every in order}
                ratios.append(rates[OFTEN] / rates[0.0])
            often = statistics.median(ratios)
            by_default = 1 - (1 - often) * OFTEN / BY_DEFAULT
            typer.echo(
                f"{mode:6} throughput with/without: median {often:.3f} ({min(ratios):.3f} to {max(ratios):.3f}) at one "
                f"every {OFTEN:.0f} s, so {by_default:.4f} at one every {BY_DEFAULT:.0f} s; {pairs} pairs of "
                f"{samples:,} samples, {hidden} hidden units, load {os.getloadavg()[0]:.1f}"
            )


if __name__ == "__main__":
    typer.run(main)
