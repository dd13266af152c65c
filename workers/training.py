"""The training loop: one leg of a run, over any mode.

The loop knows budgets, clocks, snapshots and when to stop; the mode knows how replicas combine their work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.api import Job
from workers import snapshot as state
from workers.data import first_batch, samples_per_epoch, training_stream
from workers.messages import Assignment, Leg, LegFinished, LegStarted, Stamp, StepBatch
from workers.modes import Call, Decision, Mode, Phases
from workers.step import build
from workers.wire import SnapshotTaken

if TYPE_CHECKING:
    import keras

TARGET_CALL_SECONDS = 0.1
_MAX_GROWTH = 4.0
_DEFAULT_EVALUATIONS = 20


Send = Callable[[Any], None]
"""Hands an event to the replica's supervisor."""


class LearningRateError(ValueError):
    """The spec sets a learning rate that this job's optimizer cannot be given."""


class CallTuner:
    """How many steps to fuse into a call: grow until a call takes about 100 ms.

    Fusing is the largest single gain in speed (FACTS.md); a call much longer than this would make stopping,
    progress and snapshots coarse.
    """

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self.steps = fixed or 1

    def observe(self, steps: int, seconds: float) -> None:
        if self._fixed or steps < self.steps:  # a call cut short at a boundary says nothing about longer ones
            return
        ideal = steps * TARGET_CALL_SECONDS / max(seconds, 1e-6)
        self.steps = max(1, int(min(ideal, self.steps * _MAX_GROWTH)))


class Trainer:
    """Trains legs, one after another, in one launched group."""

    def __init__(self, assignment: Assignment, job: Job, mode: Mode, send: Send) -> None:
        self._assignment = assignment
        self._job = job
        self._mode = mode
        self._send = send
        self._stop: str | None = None

    def request_stop(self, reason: str) -> None:
        """Ask the leg to end at the next call; any thread may call this, only the leader's counts."""
        self._stop = reason

    def prepare(self) -> None:
        """Build and compile: everything that is paid once per group."""
        self._mode.build()

    def train(self, leg: Leg) -> None:
        mode = self._mode
        phases = Phases()
        self._stop = None
        begun = time.monotonic()
        plan = self._plan(leg)
        mode.begin(initial_state(self._job, leg, self._assignment.batch_size), leg.seed)
        phases.add("load", time.monotonic() - begun)
        if mode.leads:
            self._send(plan)
        tuner = CallTuner(leg.steps_per_call)
        decision = Decision(steps=tuner.steps)
        next_snapshot = plan.eval_every_steps
        start = last = time.monotonic()
        while mode.step < plan.total_steps and not decision.stop:
            boundary = min(next_snapshot, plan.total_steps)
            wish = Decision(steps=tuner.steps, stop=self._stop is not None)
            calls, decision = mode.advance(wish, boundary, plan.total_steps)
            last = self._report(leg, calls, start, last)
            for call in calls:
                tuner.observe(len(call.steps), call.ended - call.started)
            if next_snapshot <= mode.step < plan.total_steps:
                self._take_snapshot(leg, last - start, phases)
                next_snapshot += plan.eval_every_steps * math.ceil(
                    (mode.step + 1 - next_snapshot) / plan.eval_every_steps
                )
        last = self._report(leg, mode.drain(), start, last)
        phases.add("train", last - start)
        self._take_snapshot(leg, last - start, phases, final=True)
        if mode.leads:
            self._finish(leg, plan, last - start, phases)

    def _plan(self, leg: Leg) -> LegStarted:
        batch = self._assignment.batch_size
        global_batch = batch * self._mode.batches_per_step
        samples = leg.samples
        if samples is None:
            samples = math.ceil((leg.epochs or 1) * samples_per_epoch(self._job, batch))
        total = max(1, math.ceil(samples / global_batch))
        every = leg.eval_every or max(1, samples // _DEFAULT_EVALUATIONS)
        return LegStarted(leg.run_id, total, global_batch, max(1, math.ceil(every / global_batch)))

    def _report(self, leg: Leg, calls: Sequence[Call], start: float, last: float) -> float:
        """Send what `calls` did; returns when the last of them ended."""
        for call in calls:
            last = max(last, call.ended)
            if self._mode.leads and len(call.steps):
                self._send(step_batch(leg.run_id, call, self._mode.log_names, start))
        return last

    def _take_snapshot(self, leg: Leg, clock: float, phases: Phases, *, final: bool = False) -> None:
        if not self._mode.leads:
            return
        begun = time.monotonic()
        taken = self._mode.snapshot(clock)
        phases.add("snapshot", time.monotonic() - begun)
        if taken.is_finite():
            stamp = Stamp(leg.run_id, taken.step, taken.samples, taken.clock, final)
            self._send(SnapshotTaken(stamp, taken))

    def _finish(self, leg: Leg, plan: LegStarted, seconds: float, phases: Phases) -> None:
        mode = self._mode
        stopped = self._stop if mode.step < plan.total_steps else None
        self._send(
            LegFinished(
                run_id=leg.run_id,
                steps=mode.step,
                samples=mode.step * plan.global_batch,
                seconds=seconds,
                stopped=stopped,
                optimizer_iterations=int(state.to_numpy(mode.model.optimizer.iterations)),
                phases=dict(phases.seconds),
                doubled_updates=mode.doubled_updates,
            )
        )


def step_batch(run_id: str, call: Call, names: Sequence[str], start: float) -> StepBatch:
    """One call as the driver sees it; clocks within a call are interpolated, as TensorFlow reports none."""
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
        logs={name: float(mean) for name, mean in zip(names, means, strict=True)},
    )


def initial_state(job: Job, leg: Leg, batch_size: int) -> state.Snapshot:
    """The state every mode starts from for the leg's seed: the same weights in every mode and on every worker.

    The model is built once more, on this process' own devices, and only its values are kept; the compiled
    model of the group takes them over, so a further seed costs no further compilation.
    """
    import keras

    batch = first_batch(training_stream(job, batch_size=batch_size, seed=leg.seed), "train_dataset")
    keras.utils.set_random_seed(leg.seed)
    model = job.build_model()
    build(model, batch)
    set_learning_rate(model, leg.learning_rate, leg.learning_rate_scale)
    return state.read(model)


def set_learning_rate(model: keras.Model, rate: float | None, scale: float) -> None:
    """Give the optimizer `rate`, or its own, times `scale`.

    Raises:
        LearningRateError: it follows a schedule, which holds its rates itself.
    """
    if rate is None and scale == 1.0:
        return
    variable: Any = getattr(model.optimizer, "_learning_rate", None)
    if not hasattr(variable, "assign"):
        raise LearningRateError(
            "learning_rate: this job's optimizer follows a schedule, whose rates cannot be replaced from outside; "
            "make the schedule's rate one of the job's params and use --set."
        )
    variable.assign((float(variable.numpy()) if rate is None else rate) * scale)
