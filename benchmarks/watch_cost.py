"""What watching a run costs: training throughput with everything on against everything off.

    python -m benchmarks.watch_cost --pairs 7

Runs come in pairs, on and off in turn, each in a freshly launched group: a group that waits for its turn would be
sampled all the same. On is what a user gets on a terminal: samples of hosts and GPUs every second, every call timed,
the loss watched, TensorBoard events, Ray metrics, and the dashboard (drawn into memory). Off is `--no-monitor -q`.

Two ratios are told. Throughput (samples per second of training) is what counts, and on a machine that does other
things as well it swings by several percent. Processor time per sample, of the driver and all processes below it
during training, says the same and hardly swings: on a machine whose cores are all busy, the one is the other's inverse.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from orchestrator.api import run
from orchestrator.coordinator import Tick
from orchestrator.execution import Silent
from orchestrator.result import RunResult
from orchestrator.spec import make_run_spec
from orchestrator.watch.live import LiveView

MODES = ("sync", "async")
JOBS: dict[str, dict[str, Any]] = {
    "digits": {"batch_size": 32, "params": {"hidden": 128}},
    "wide": {"batch_size": 256, "params": {"hidden": 2048}},
}
"""Both are the built-in job `digits`: as it is, where a step takes a millisecond, and with real work in it."""


@dataclass(frozen=True)
class Measured:
    samples_per_s: float
    cpu_seconds: float
    """Per million samples."""


class Metered(Silent):
    """Processor seconds of this process and all below it, while a leg trains."""

    def __init__(self, view: LiveView | None) -> None:
        self._view = view
        self._at_start: dict[int, float] | None = None
        self.seconds = 0.0

    def run_begins(self, spec: Any, run_id: str, path: Path) -> None:
        if self._view is not None:
            self._view.run_begins(spec, run_id, path)

    def launching(self, tick: Tick) -> None:
        if self._view is not None:
            self._view.launching(tick)

    def training(self, tick: Tick) -> None:
        if self._view is not None:
            self._view.training(tick)
        if self._at_start is None and any(status.leg_started for status in tick.statuses):
            self._at_start = processor_seconds()
        if any(status.leg_finished for status in tick.statuses):
            began = self._at_start or {}
            self.seconds = sum(now - began.get(pid, 0.0) for pid, now in processor_seconds().items())

    def run_ended(self, result: RunResult) -> None:
        if self._view is not None:
            self._view.run_ended(result)


def processor_seconds() -> dict[int, float]:
    """By process."""
    used = {}
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used[process.pid] = times.user + times.system
    return used


def measure(job: str, mode: str, samples: int, folder: Path, *, monitor: bool) -> Measured:
    """One run, launched for itself."""
    spec = make_run_spec(
        {
            "job": "digits",
            "mode": mode,
            "samples": samples,
            "eval_every": samples,
            "monitor": monitor,
            "out": str(folder / f"{job}-{mode}-{time.monotonic_ns()}"),
            **JOBS[job],
        }
    )
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    view = LiveView(screen) if monitor else None
    watcher = Metered(view)
    if view is not None:
        with view:
            result = run(spec, watcher, resolved=True)
    else:
        result = run(spec, watcher, resolved=True)
    rate = result.throughput.samples_per_s or 0.0
    return Measured(rate, watcher.seconds * 1e6 / samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of training per run, about")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--out", type=Path, default=None, help="JSON file for every single value")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for job in arguments.jobs.split(","):
            for mode in arguments.modes.split(","):
                rows.append(compare(job, mode, arguments.pairs, arguments.seconds, Path(folder)))
                if arguments.out is not None:
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def compare(job: str, mode: str, pairs: int, seconds: float, folder: Path) -> dict[str, Any]:
    probe = measure(job, mode, 100_000, folder, monitor=False)
    samples = max(10_000, int(probe.samples_per_s * seconds))
    values: list[tuple[Measured, Measured]] = []
    loads = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 == 0 else (False, True)
        loads.append(os.getloadavg()[0])
        done = {monitor: measure(job, mode, samples, folder, monitor=monitor) for monitor in order}
        values.append((done[True], done[False]))
    speed = [on.samples_per_s / off.samples_per_s for on, off in values]
    work = [off.cpu_seconds / on.cpu_seconds for on, off in values]
    print(
        f"{job:8} {mode:6} throughput on/off: median {statistics.median(speed):.3f} "
        f"({min(speed):.3f} to {max(speed):.3f}); processor time off/on: median {statistics.median(work):.3f} "
        f"({min(work):.3f} to {max(work):.3f}); {pairs} pairs of {samples:,} samples, "
        f"{statistics.median(off.samples_per_s for _, off in values):,.0f} samples/s off, load {max(loads):.1f}",
        flush=True,
    )
    return {
        "job": job,
        "mode": mode,
        "samples": samples,
        "speed": speed,
        "work": work,
        "load": loads,
        "rates": [[on.samples_per_s, off.samples_per_s] for on, off in values],
    }


if __name__ == "__main__":
    main()
