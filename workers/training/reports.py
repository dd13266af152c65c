"""Reports of a training task about its leg: steps, timings, snapshots, and its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from workers.messages import CHECKPOINT, Leg
from workers.model import state
from workers.model.learning_rate import learning_rate
from workers.model.logs import reported_names
from workers.model.optimizers import iterations
from workers.modes.mode import Call, Mode, Phases
from workers.news import CallTiming, LegFinished, Stamp, StepBatch
from workers.snapshot import CallbackMemory, Snapshot
from workers.training.progress import Progress
from workers.training.timing import CallTimer, LegClock
from workers.training.trainer import Send
from workers.wire import SnapshotTaken

RATE_SECONDS = 0.25
"""Seconds between two looks at the learning rate, which asynchronous modes keep on another process."""


class LegReports:
    """Counts and reports the calls of one leg. Only the leader sends steps and snapshots."""

    def __init__(self, leg: Leg, mode: Mode, progress: Progress, clock: LegClock, phases: Phases, send: Send) -> None:
        self._leg = leg
        self._mode = mode
        self._progress = progress
        self._clock = clock
        self._phases = phases
        self._send = send
        self._timer = CallTimer(leg.run_id, clock)
        self._rate: float | None = None
        self._rate_read_at = 0.0

    def call(self, call: Call, *, together: bool) -> None:
        """Report one call. `together`: all workers took its steps."""
        self._clock.advance(call.ended)
        self._progress.add_steps(None if together else call.worker, len(call.steps))
        if self._mode.leads and len(call.steps):
            batch = step_batch(self._leg.run_id, call, self._mode.log_names, self._clock.origin)
            rate = self._current_rate()
            self._send(replace(batch, learning_rate=rate, spent=dict(self._clock.spent.seconds)))
        self._timings(self._timer.add(call))

    def _current_rate(self) -> float | None:
        """The learning rate, of a schedule as of at most a quarter of a second ago; None if there are several."""
        if not self._rate_read_at or self._clock.seconds - self._rate_read_at >= RATE_SECONDS:
            self._rate, self._rate_read_at = learning_rate(self._mode.model), self._clock.seconds
        return self._rate

    def rate_changed(self) -> None:
        """The learning rate is another one from now on."""
        self._rate_read_at = 0.0

    def flush(self) -> None:
        """Report the timings that are not reported yet."""
        self._timings(self._timer.flush())
        self._phases.add("train", self._clock.training)

    def state(self) -> Snapshot:
        """The whole state now, with its samples and its position in the data."""
        taken = self._mode.snapshot(self._clock.seconds)
        scale = self._leg.start.schedule_scale if self._leg.start else 1.0
        samples = self._progress.samples(taken.step)
        return replace(taken, samples=samples, position=self._progress.position, schedule_scale=scale)

    def snapshot(self, memory: CallbackMemory | None, *, score: bool, keep: bool, final: bool = False) -> Snapshot:
        """Send the leader's state to be scored, or kept as a checkpoint with the callbacks' `memory`, or both."""
        with self._phases.timed("snapshot") as timed:
            taken = self.state()
            if keep:
                taken = replace(taken, callbacks=memory)
            if taken.is_finite():
                stamp = Stamp(self._leg.run_id, taken.step, taken.samples, taken.clock, final, self._clock.training)
                self._send(SnapshotTaken(stamp, taken, score, keep))
        self._timer.add_snapshot(timed.seconds)
        if keep:
            self._clock.spent.add(CHECKPOINT, timed.seconds)
        return taken

    def finished(self, stopped: str | None) -> None:
        """Report the leg's end; `stopped` is why it ended early."""
        mode = self._mode
        self._send(
            LegFinished(
                run_id=self._leg.run_id,
                steps=mode.step,
                samples=self._progress.samples(mode.step),
                seconds=self._clock.seconds,
                stopped=stopped,
                optimizer_iterations=int(state.to_numpy(iterations(mode.model.optimizer))),
                phases=dict(self._phases.seconds),
                spent=dict(self._clock.spent.seconds),
                doubled_updates=mode.doubled_updates,
                counts=mode.counts,
            )
        )

    def _timings(self, timings: Iterable[CallTiming]) -> None:
        for timing in timings:
            if self._leg.settings.monitor:
                self._send(timing)


def step_batch(run_id: str, call: Call, names: Sequence[str], start: float) -> StepBatch:
    """Convert one call for the driver. Clocks within the call are interpolated, because TensorFlow reports none."""
    ends = np.linspace(call.started, call.ended, len(call.steps) + 1)[1:] - start
    means = call.logs.mean(axis=0)
    return StepBatch(
        run_id=run_id,
        worker=call.worker,
        steps=call.steps,
        clock=ends,
        losses=call.logs[:, 0],
        staleness=call.staleness,
        seconds=call.ended - call.started,
        logs=dict(zip(reported_names(tuple(names)), map(float, means), strict=True)),
    )
