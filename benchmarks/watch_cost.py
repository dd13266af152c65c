"""Measures the cost of watching a run: training throughput with all monitoring on, relative to all of it off.

    python -m benchmarks.watch_cost --pairs 20

It runs one comparison of two variants, watched and not, that take turns of some seconds in groups that were launched
once: the speed of a shared machine varies by half within a minute, and two consecutive runs see the same speed. The
watched variant has what a user gets on a terminal: samples of hosts and GPUs every second, every call timed, the loss
monitored, TensorBoard events, Ray metrics, and the dashboard (drawn into memory). The other is `--no-monitor -q`. A
group that waits for its turn is sampled only for the first seconds (`workers.telemetry.sampler.REST_AFTER`), so turns
have to be several times as long; the evaluator's one sampler runs throughout.

It prints two ratios. Throughput (samples per second of training) is the one that matters. Processor time per sample, of
the driver and all its descendants during training, agrees with it if all cores are busy.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from orchestrator.api import compare
from orchestrator.control.coordinator import Tick
from orchestrator.results import RunResult
from orchestrator.runs.watcher import NullWatcher
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.view.live import LiveView
from workers.news import LegFinished, LegStarted

MODES = ("sync", "async")
JOBS: dict[str, dict[str, Any]] = {
    "digits": {"batch_size": 32, "params": {"hidden": 128}},
    "wide": {"batch_size": 256, "params": {"hidden": 2048}},
}
"""Both are the built-in job `digits`: as it is, with steps of a millisecond, and with more compute per step."""
VARIANTS = {"watched": {"monitor": True}, "not": {"monitor": False}}


@dataclass(frozen=True)
class Measured:
    samples_per_s: float
    cpu_seconds: float
    """Processor time per million samples."""


class Metered(NullWatcher):
    """Passes watched runs on to `view`, and measures processor time of this process and its descendants in training."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self._watched: dict[str, bool] = {}
        self._shown = False
        self._at_start: dict[int, float] = {}
        self._seconds = 0.0
        self.measured: list[Measured] = []

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None:
        self._watched[run_id] = spec.monitor
        if spec.monitor:
            self._view.run_begins(spec, run_id, path)

    def training(self, tick: Tick) -> None:
        all_news = [news for status in tick.statuses for news in status.news]
        started = [news for news in all_news if isinstance(news, LegStarted)]
        finished = [news for news in all_news if isinstance(news, LegFinished)]
        if started:
            self._at_start = processor_seconds()
            self._shown = self._watched[started[0].run_id]
        if self._shown:
            self._view.training(tick)
        if finished:
            self._seconds = sum(now - self._at_start.get(pid, 0.0) for pid, now in processor_seconds().items())

    def run_ended(self, result: RunResult) -> None:
        if self._watched[result.run_id]:
            self._view.run_ended(result)
        rate = result.throughput.samples_per_s or 0.0
        self.measured.append(Measured(rate, self._seconds * 1e6 / (result.samples or 1)))


def processor_seconds() -> dict[int, float]:
    """Processor seconds by pid, of this process and its descendants."""
    used = {}
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used[process.pid] = times.user + times.system
    return used


def measure(job: str, mode: str, samples: int, pairs: int, folder: Path) -> list[tuple[Measured, Measured]]:
    """Measure `pairs` pairs of runs: watched, and not."""
    values = {"job": "digits", "mode": mode, "samples": samples, "eval_every": samples, **JOBS[job]}
    out = str(folder / f"{job}-{mode}-{samples}")
    spec = CompareSpec.make({**values, "out": out, "variants": VARIANTS, "seeds": pairs})
    view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=120, height=40))
    meter = Metered(view)
    with view:
        compare(spec, meter, resolved=True)
    return list(zip(meter.measured[::2], meter.measured[1::2], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0, help="approximate training time per run")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--out", type=Path, default=None, help="JSON file for every single value")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for job in arguments.jobs.split(","):
            for mode in arguments.modes.split(","):
                rows.append(ratios(job, mode, arguments.pairs, arguments.seconds, Path(folder)))
                if arguments.out is not None:
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def ratios(job: str, mode: str, pairs: int, seconds: float, folder: Path) -> dict[str, Any]:
    (_, probe), *_ = measure(job, mode, 100_000, 1, folder)
    samples = max(10_000, int(probe.samples_per_s * seconds))
    values = measure(job, mode, samples, pairs, folder)
    speed = [on.samples_per_s / off.samples_per_s for on, off in values]
    work = [off.cpu_seconds / on.cpu_seconds for on, off in values]
    off_rate = statistics.median(off.samples_per_s for _, off in values)
    print(
        f"{job:8} {mode:6} throughput on/off: median {statistics.median(speed):.3f} "
        f"({min(speed):.3f} to {max(speed):.3f}); processor time off/on: median {statistics.median(work):.3f} "
        f"({min(work):.3f} to {max(work):.3f}); {pairs} pairs of {samples:,} samples, "
        f"{off_rate:,.0f} samples/s off, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return {
        "job": job,
        "mode": mode,
        "samples": samples,
        "speed": speed,
        "work": work,
        "rates": [[on.samples_per_s, off.samples_per_s] for on, off in values],
    }


if __name__ == "__main__":
    main()
