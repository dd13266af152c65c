"""Rules on the speed of a run while it trains: a worker slower than the others, and waiting for input."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping

from orchestrator.monitor.advice import finding
from orchestrator.results import Finding
from orchestrator.verdict.stragglers import STRAGGLER, straggler_index
from workers.news import CallTiming

WINDOW_SECONDS = 10.0
"""Seconds of the run's clock that are judged together."""
LEAST_SECONDS = 2.0
"""Shortest window that is judged."""
LEAST_STEPS = 20
"""Fewest steps of a worker from which its step time is computed."""


class Pace:
    """Judges call timings in windows of the run's clock, and reports each kind of finding once per run."""

    def __init__(self) -> None:
        self._recent: deque[CallTiming] = deque()
        self._judged: float | None = None
        """The run's clock at the end of the last window."""
        self._started: set[int] = set()
        """Workers whose first call has been seen."""
        self._found: set[str] = set()

    def observe(self, timing: CallTiming) -> Iterator[Finding]:
        if timing.worker not in self._started:
            # A worker's first call fills buffers, and after a restart skips batches that were trained on before.
            self._started.add(timing.worker)
            self._judged = timing.clock if self._judged is None else self._judged
            return
        self._recent.append(timing)
        if timing.clock - (self._judged or 0.0) >= WINDOW_SECONDS:
            yield from self._judge(timing.clock)
            self._recent.clear()

    def restarted(self) -> None:
        """Start over: training resumes from a checkpoint."""
        self._recent.clear()
        self._judged = None
        self._started.clear()

    def finish(self) -> Iterator[Finding]:
        """Judge the timings since the last window: the run has ended."""
        if self._recent:
            yield from self._judge(max(timing.clock for timing in self._recent))

    def _judge(self, clock: float) -> Iterator[Finding]:
        seconds, self._judged = clock - (self._judged or 0.0), clock
        if seconds < LEAST_SECONDS:
            return
        step = max(timing.last_step for timing in self._recent)
        for found in (
            straggler(step_seconds(self._recent), step, clock),
            input_bound(input_share(self._recent), step, clock),
        ):
            if found is not None and found.kind not in self._found:
                self._found.add(found.kind)
                yield found


def step_seconds(timings: deque[CallTiming]) -> dict[str, float]:
    """Mean seconds of a step by worker, without the time in collectives, where workers wait for each other.

    Empty unless that is known of every worker: a worker that waits would look as slow as the one it waits for.
    Async workers never wait for each other.
    """
    own: defaultdict[str, float] = defaultdict(float)
    steps: defaultdict[str, int] = defaultdict(int)
    together = any(timing.communication is not None for timing in timings)
    for timing in timings:
        if timing.busy is None or (together and timing.communication is None):
            return {}
        worker = f"worker:{timing.worker}"
        own[worker] += timing.busy - (timing.communication or 0.0)
        steps[worker] += timing.steps
    return {worker: own[worker] / steps[worker] for worker in own if steps[worker] >= LEAST_STEPS}


def input_share(timings: deque[CallTiming]) -> float:
    """Share of the workers' time spent waiting for the next batch; 0 if it is not known."""
    known = [(t.input_wait, t.busy) for t in timings if t.input_wait is not None and t.busy]
    total = sum(busy for _, busy in known)
    return sum(waited for waited, _ in known) / total if total > 0 else 0.0


INPUT_BOUND = 0.2
"""Share of step time spent waiting for input above which a run is input-bound. It is TensorFlow Profiler's bound for
"highly input-bound" (`kHighlyInfeedBoundThresholdInPercent` in its input pipeline analysis)."""


def input_bound(share: float, step: int, clock: float) -> Finding | None:
    """A finding if `share`, from 0 to 1, of the training time was spent waiting for the next batch."""
    if not share > INPUT_BOUND:
        return None
    evidence = f"{share:.0%} of the training time is spent waiting for the next batch (limit {INPUT_BOUND:.0%})"
    return finding("input_bound", step, clock, "training is waiting for its input", evidence)


def straggler(step_seconds: Mapping[str, float], step: int, clock: float) -> Finding | None:
    """A finding if the slowest worker is a straggler, by the mean seconds of a step without waiting for others."""
    index = straggler_index(step_seconds)
    if index is None or index <= STRAGGLER:
        return None
    times = {worker: time for worker, time in step_seconds.items() if math.isfinite(time) and time > 0}
    slowest = max(times, key=times.__getitem__)
    evidence = (
        f"{slowest} takes {times[slowest] * 1e3:.3g} ms a step, {index:.2f} times the median of "
        f"{len(times)} workers (limit {STRAGGLER})"
    )
    return finding("straggler", step, clock, f"{slowest} is slower than the others", evidence)
