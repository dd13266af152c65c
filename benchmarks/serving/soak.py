"""Hours of load below the peak, with a version swapped and a replica killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.serving import server
from benchmarks.serving.client import Outcome, Questions, closed_loop, open_loop

SHARE_OF_PEAK = 0.7
_PEAK_SECONDS = 10.0


@dataclass
class _Log:
    """What happened when, in seconds since the load began."""

    began: float
    events: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.events.append(f"{time.perf_counter() - self.began:6.1f} s: {text}")


def soaked(folder: Path, seconds: float, replicas: int) -> tuple[str, bool]:
    """Load a server for so long; returns a report, and whether all answers were right and no request failed."""
    with server.regatta(folder / "served", "--replicas", str(replicas)) as ours:
        questions = Questions(folder, ours.url.removeprefix("http://"))
        asyncio.run(closed_loop(ours.url, questions, 32, 3.0))
        peak = asyncio.run(closed_loop(ours.url, questions, 32, _PEAK_SECONDS)).per_second
        log = _Log(time.perf_counter())
        outcome = asyncio.run(_loaded(folder, ours, questions, SHARE_OF_PEAK * peak, seconds, log))
    return _report(outcome, peak, log, seconds), not outcome.failed and not outcome.wrong


async def _loaded(
    folder: Path, ours: server.Server, questions: Questions, rate: float, seconds: float, log: _Log
) -> Outcome:
    faults = asyncio.ensure_future(_faults(folder, ours, seconds, log))
    watched = asyncio.ensure_future(_watched(ours, log))
    outcome = await open_loop(ours.url, questions, rate, seconds)
    watched.cancel()
    await faults
    return outcome


async def _faults(folder: Path, ours: server.Server, seconds: float, log: _Log) -> None:
    await asyncio.sleep(seconds / 3)
    (folder / "served" / "2").symlink_to(folder / "2")
    log.note("version 2 is there")
    await asyncio.sleep(seconds / 3)
    victim = (await asyncio.to_thread(ours.replicas))[0]
    before = ours.models()
    os.kill(victim.pid, 9)
    killed = time.perf_counter()
    log.note(f"replica {victim.pid} is killed")
    while not (len(now := await asyncio.to_thread(ours.models)) == len(before) and set(now) - set(before)):
        await asyncio.sleep(0.1)
    log.note(f"{len(before)} models are loaded again, {time.perf_counter() - killed:.1f} s later")


async def _watched(ours: server.Server, log: _Log) -> None:
    while True:
        log.memory.append((time.perf_counter() - log.began, await asyncio.to_thread(ours.memory_mib)))
        await asyncio.sleep(5)


def _part(outcome: Outcome, log: _Log, since: float, until: float) -> str:
    """Latencies of the requests that were due in a part of the time."""
    due = [at - log.began for at in outcome.asked]
    taken = [one for at, one in zip(due, outcome.latencies, strict=True) if since <= at < until]
    if not taken:
        return "nothing"
    middle, last = np.percentile(taken, [50, 99]) * 1e3
    return f"{since:.0f} to {until:.0f} s: p50 {middle:.1f} ms, p99 {last:.1f} ms, longest {max(taken) * 1e3:.0f} ms"


def _report(outcome: Outcome, peak: float, log: _Log, seconds: float) -> str:
    kinds = {text: outcome.failed.count(text) for text in set(outcome.failed)}
    lines = [
        f"peak {peak:,.0f} requests/s; {len(outcome.latencies):,} answered in {outcome.seconds:.0f} s "
        f"({outcome.per_second:,.0f}/s), {outcome.wrong} wrong, {len(outcome.failed)} failed {kinds or ''}",
        f"version 1: {outcome.versions.count(1):,}, version 2: {outcome.versions.count(2):,}",
        *[_part(outcome, log, seconds * part / 6, seconds * (part + 1) / 6) for part in range(6)],
        "memory (MiB): "
        + ", ".join(f"{mib:,.0f} at {at:.0f} s" for at, mib in log.memory[:: max(1, len(log.memory) // 8)]),
        *log.events,
    ]
    return "\n".join(lines)
