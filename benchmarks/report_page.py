"""Measures the page of many long runs: how long it takes to make, how large it is, and when a browser has painted it.

    python -m benchmarks.report_page --variants 12 --seeds 5 --steps 1000000

The runs are simulated and written by the real store; `regatta report` makes the page as a user would, and Chromium,
where there is one, opens it ten times.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from orchestrator.store.directory import RunStore
from tests.integration.chromium_pipe import Chromium, find
from tests.unit.simulated_runs import a_run
from workers.messages import Task
from workers.news import Evaluation, LegStarted, ReplicaState, ReplicaStatus, Stamp, StepBatch

SECONDS = 3600.0
"""Length of each simulated run."""
EVALUATIONS = 500
BATCH = 100_000
OPENED = 10
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        comparison = Path(folder) / "comparison"
        for seed in range(given.seeds):
            for number in range(given.variants):
                write_run(comparison, f"variant{number:02}", seed, given.steps)
        stored = sum(file.stat().st_size for file in comparison.rglob("*") if file.is_file())
        print(f"{given.variants} variants x {given.seeds} seeds x {given.steps:,} steps: {stored / 1e6:,.0f} MB")
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "orchestrator.cli.main", "report", str(comparison)], check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"`regatta report` took {time.monotonic() - began:.1f} s, and at most {peak / 2**20:.1f} GiB of memory")
        page = comparison / "report.html"
        print(f"report.html: {page.stat().st_size / 1e6:.2f} MB")
        program = find()
        if program is None:
            print("first paint: not measured (no Chromium)")
            return
        for width in (1280, 390):
            painted = [first_paint(program, page, width) for _ in range(OPENED)]
            print(f"first paint at {width} pixels: median {statistics.median(painted):.2f} s, "
                  f"{min(painted):.2f} to {max(painted):.2f}")  # fmt: skip


def write_run(folder: Path, variant: str, seed: int, count: int) -> None:
    """Write the folder of one run: a loss that falls with noise, staleness, and evaluations."""
    run_id = f"{variant}-s{seed}"
    random = np.random.default_rng(hash((variant, seed)) % 2**32)
    path = folder / "runs" / run_id
    path.mkdir(parents=True)
    store = RunStore(path)
    spec = {"job": "digits", "mode": "async", "workers": 2, "batch_size": 25, "target": "val_accuracy>=0.95"}
    store.write_spec(spec | {"seed": seed, "variant": variant, "run_id": run_id})
    store.write_plan({"mode": "async", "tasks": [], "budget": {"samples_per_step": 50}})
    store.event(1, "launch")
    for first in range(1, count + 1, BATCH):
        steps = np.arange(first, min(first + BATCH, count + 1))
        losses = 2.3 * np.exp(-4 * steps / count + random.normal(0, 0.15, len(steps))) + 0.02
        stale = random.poisson(1.0, len(steps)).astype(float)
        batch = StepBatch(run_id, 0, steps, SECONDS * steps / count, losses, stale, SECONDS, {"loss": 1.0})
        started = (LegStarted(run_id, count, 50, 20),) if first == 1 else ()
        store.add(1, ReplicaStatus(Task("chief", 0), ReplicaState.TRAINING, (*started, batch)))
    marks = np.linspace(0, count, EVALUATIONS + 1)[1:].astype(int).tolist()
    scores = [0.98 - 0.5 * np.exp(-5 * step / count) + random.normal(0, 0.002) for step in marks]
    scored = [
        Evaluation(Stamp(run_id, step, 50 * step, SECONDS * step / count), {"val_accuracy": float(score)}, 0.02)
        for step, score in zip(marks, scores, strict=True)
    ]
    store.add(1, ReplicaStatus(Task("chief", 0), ReplicaState.TRAINING, tuple(scored)))
    store.close()
    store.write_result(a_run("async", seed, SECONDS / 2, run_id=run_id, variant=variant, steps=count))


def first_paint(program: str, page: Path, width: int) -> float:
    """Seconds from navigation to the first content on the screen, in a new browser."""
    with tempfile.TemporaryDirectory() as profile:
        browser = Chromium(program, Path(profile))
        try:
            browser.open(page, width)
            return float(browser.evaluate(FIRST_PAINT)) / 1000
        finally:
            browser.close()


if __name__ == "__main__":
    main()
