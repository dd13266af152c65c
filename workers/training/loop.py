"""The training loop: one leg of a run, over any mode.

The loop knows budgets, clocks, snapshots and when to stop; the mode knows how replicas combine their work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jobs.api import Job
from workers.data.stream import samples_per_epoch
from workers.messages import (
    PREEMPTED,
    RESIZED,
    ROLLBACK,
    Assignment,
    CallTiming,
    Deciding,
    Leg,
    LegFinished,
    LegStarted,
    Stamp,
    Start,
    StepBatch,
)
from workers.model import state
from workers.modes import Call, Consult, Decision, Mode, Phases
from workers.snapshot import Snapshot
from workers.training.callbacks import Callbacks
from workers.training.export import leave, run_folder
from workers.training.progress import Progress
from workers.training.schedule import CallTuner, Due, Epochs
from workers.training.start import initial_model, resume
from workers.training.timing import CallTimer
from workers.wire import SnapshotTaken

_DEFAULT_EVALUATIONS = 20


Send = Callable[[Any], None]
"""Hands an event to the replica's supervisor."""


class Trainer:
    """Trains legs, one after another, in one launched group."""

    def __init__(self, assignment: Assignment, job: Job, mode: Mode, send: Send) -> None:
        self.assignment = assignment
        self.job = job
        self.mode = mode
        self.send = send
        self._leg = 0
        self._stops: dict[int, str] = {}
        """Reasons to end a leg, by its number; one may come before the leg does, or after it is over."""
        self._epoch: int | None = None

    @property
    def stop(self) -> str | None:
        """Why the leg under way is to end at the next call, once somebody asked for it."""
        return self._stops.get(self._leg)

    def request_stop(self, reason: str, leg: int) -> None:
        """Ask leg number `leg` to end at its next call; any thread may call this, only the leader's counts."""
        self._stops.setdefault(leg, reason)

    def prepare(self) -> None:
        """Build and compile: everything that is paid once per group."""
        self.mode.build()

    def train(self, leg: Leg, snapshot: Snapshot | None = None) -> None:
        """`snapshot` is what `leg.start` speaks of, on the leader; None at step 0, and on the others."""
        self._leg = leg.number
        LegRun(self, leg, snapshot).run()

    def samples_per_epoch(self) -> int:
        """Counted once per group."""
        if self._epoch is None:
            self._epoch = samples_per_epoch(self.job, self.assignment.batch_size)
        return self._epoch


class LegRun:
    """One leg, from its initial weights to its last snapshot."""

    def __init__(self, trainer: Trainer, leg: Leg, snapshot: Snapshot | None) -> None:
        self._begun = time.monotonic()
        self._snapshot_given = snapshot
        self._trainer = trainer
        self._mode = trainer.mode
        self._leg = leg
        self._phases = Phases()
        self._tuner = CallTuner(leg.steps_per_call)
        self._callbacks: Callbacks | None = None
        """The leader's; the others only obey."""
        self._epochs: Epochs | None = None
        """Where somebody wants to be asked at their ends."""

    def run(self) -> None:
        mode, plan = self._mode, self._begin()
        every = plan.eval_every_steps
        next_snapshot = every * (mode.step // every + 1)
        decision = self._consult(lambda callbacks: callbacks.begin(plan.total_steps))
        consult = decision.consult
        if consult:
            self._epochs = self._epochs or self._count_epochs()
        self._start_clock(plan)
        while mode.step < plan.total_steps and not decision.stop:
            end = plan.total_steps if self._epochs is None else min(plan.total_steps, self._epochs.end)
            wish = Decision(steps=self._tuner.steps, stop=self._trainer.stop is not None)
            calls, decision = mode.advance(wish, min(next_snapshot, self._due.boundary, end), end)
            decision = self._take_in(calls, consult, decision)
            scored = next_snapshot <= mode.step < plan.total_steps
            if scored:
                next_snapshot += every * math.ceil((mode.step + 1 - next_snapshot) / every)
            if self._epochs and mode.step == self._epochs.end < plan.total_steps and not decision.stop:
                # What is scored is the state before the callbacks, what is gone on from the one after them.
                self._take_snapshots(score=scored, keep=False)
                scored = False
                decision = self._consult(lambda callbacks: callbacks.epoch_ended(self._snapshot()))
                self._epochs.number += 1
            if mode.step < plan.total_steps:
                keep = self._due.now(mode.step)
                if keep:
                    # A checkpoint counts every update that is in its weights: nothing is in flight while it is taken.
                    # What is only scored may be read while workers go on.
                    decision = self._take_in(mode.drain(), consult, decision)
                self._take_snapshots(score=scored, keep=keep)
        self._end(plan)

    def _take_in(self, calls: Sequence[Call], consult: Consult, decision: Decision) -> Decision:
        """Report what was completed; returns the decision that holds from now on."""
        for call in self._report(calls):
            self._tuner.observe(len(call.steps), call.ended - call.started)
            if consult is Consult.CALLS:
                decision = self._consult(lambda callbacks: callbacks.call_ended(self._snapshot))
        return decision

    def _begin(self) -> LegStarted:
        """Everything that comes before the clock starts; returns the plan."""
        trainer, mode, leg = self._trainer, self._mode, self._leg
        start = leg.start or Start(0, 0, 0.0)
        workers = max(1, len(trainer.assignment.tf_config.get("cluster", {}).get("worker", ())))
        batch_size = trainer.assignment.batch_size
        self._progress = Progress(start, workers, mode.batches_per_step, batch_size)
        plan = self._plan()
        self._due = Due(leg.checkpoints, start.step, plan.global_batch)
        self._model = initial_model(trainer.job, leg, batch_size)
        mode.scale_schedule(start.schedule_scale)
        mode.begin(resume(self._model, start, self._snapshot_given), leg.seed)
        if mode.leads:
            self._folder = trainer.job.run_directory = run_folder(leg.directory)
            self._callbacks = Callbacks(trainer.job, self._model, batch_size, prefetch=trainer.assignment.prefetch)
            if self._callbacks.consult:
                self._epochs = self._count_epochs()
                first = Epochs(trainer.samples_per_epoch(), plan.global_batch)
                remembered = self._snapshot_given.callbacks if self._snapshot_given else None
                self._callbacks.start_at(self._epochs.number, first.end, remembered)
        self._start = self._last = time.monotonic()
        self._timer = CallTimer(leg.run_id, self._start)
        self._phases.add("load", self._start - self._begun)
        return plan

    def _count_epochs(self) -> Epochs:
        step = self._mode.step
        samples = self._trainer.samples_per_epoch()
        return Epochs(samples, self._progress.global_batch, step, self._progress.samples(step))

    def _start_clock(self, plan: LegStarted) -> None:
        if self._mode.leads:
            self._trainer.send(plan)
        self._start = self._last = time.monotonic()
        if self._leg.start is not None:  # the clock went on while this leg was prepared
            self._start = self._begun - self._leg.start.clock
        self._timer = CallTimer(self._leg.run_id, self._start)
        self._due.start()

    def _plan(self) -> LegStarted:
        leg = self._leg
        global_batch = self._progress.global_batch
        samples = leg.samples
        if samples is None:
            samples = math.ceil((leg.epochs or 1) * self._trainer.samples_per_epoch())
        total = self._progress.total_steps(samples)
        every = leg.eval_every or max(1, samples // _DEFAULT_EVALUATIONS)
        steps = max(1, math.ceil(every / global_batch))
        return LegStarted(leg.run_id, total, global_batch, steps, self._mode.shares)

    def _consult(self, ask: Callable[[Callbacks], Decision]) -> Decision:
        """Have the leader's callbacks decide, and every replica obey before the next step. The clock stands still."""
        begun = time.monotonic()
        wish = self._decide(ask)
        stop = wish.stop or self._trainer.stop is not None
        decision = self._mode.agree(replace(wish, steps=self._tuner.steps, stop=stop))
        if decision.rewritten:
            self._mode.adopt(self._callbacks.state if self._callbacks else None)
        paused = time.monotonic() - begun
        self._start += paused
        self._last += paused
        self._timer.pause(paused)
        self._phases.add("callbacks", paused)
        return decision

    def _decide(self, ask: Callable[[Callbacks], Decision]) -> Decision:
        """The callbacks' wish; the driver is told, which would take a long silence for a hang."""
        if self._callbacks is None or self._callbacks.consult is Consult.NEVER:
            return Decision() if self._callbacks is None else ask(self._callbacks)
        self._trainer.send(Deciding(self._leg.run_id, begins=True))
        try:
            return ask(self._callbacks)
        finally:
            self._trainer.send(Deciding(self._leg.run_id, begins=False))

    def _report(self, calls: Sequence[Call]) -> Iterator[Call]:
        """Send what `calls` did, one by one."""
        for call in calls:
            self._last = max(self._last, call.ended)
            self._progress.took(call.worker if self._trainer.assignment.mode == "async" else None, len(call.steps))
            if self._mode.leads and len(call.steps):
                self._trainer.send(step_batch(self._leg.run_id, call, self._mode.log_names, self._start))
            if self._callbacks is not None:
                self._callbacks.note(call, self._mode.log_names)
            self._tell(self._timer.add(call))
            yield call

    def _tell(self, timings: Iterable[CallTiming]) -> None:
        for timing in timings:
            if self._trainer.assignment.timings:
                self._trainer.send(timing)

    def _snapshot(self) -> Snapshot:
        taken = self._mode.snapshot(self._last - self._start)
        scale = self._leg.start.schedule_scale if self._leg.start else 1.0
        samples = self._progress.samples(taken.step)
        return replace(taken, samples=samples, position=self._progress.position, schedule_scale=scale)

    def _take_snapshots(self, *, score: bool, keep: bool) -> None:
        if self._mode.leads and (score or keep):
            self._take_snapshot(score=score, keep=keep)

    def _take_snapshot(self, *, score: bool, keep: bool, final: bool = False) -> Snapshot:
        """Have the leader's state scored, or kept as a checkpoint, or both; and return it."""
        begun = time.monotonic()
        taken = self._snapshot()
        if keep and self._callbacks is not None:
            taken = replace(taken, callbacks=self._callbacks.memory())
        seconds = time.monotonic() - begun
        self._phases.add("snapshot", seconds)
        self._timer.snapshot(seconds)
        if taken.is_finite():
            stamp = Stamp(self._leg.run_id, taken.step, taken.samples, taken.clock, final)
            self._trainer.send(SnapshotTaken(stamp, taken, score, keep))
        return taken

    def _end(self, plan: LegStarted) -> None:
        mode = self._mode
        for _ in self._report(mode.drain()):
            pass
        self._tell(self._timer.rest())
        self._phases.add("train", self._last - self._start)
        stop = self._trainer.stop if mode.step < plan.total_steps else None
        goes_on = stop in (PREEMPTED, RESIZED)
        keeps = self._leg.checkpoints is not None and self._trainer.stop != ROLLBACK
        # Whoever goes on from here has not come to the end that the callbacks are told of below.
        self._take_snapshots(score=False, keep=keeps and (self._epochs is not None or goes_on))
        if self._epochs is not None:
            self._consult(lambda callbacks: Decision() if goes_on else callbacks.finish(self._snapshot()))
        if not mode.leads:
            return
        if self._trainer.stop != ROLLBACK and not goes_on:
            final = self._take_snapshot(score=True, keep=keeps and self._epochs is None, final=True)
            if self._folder is not None:
                begun = time.monotonic()
                leave(self._trainer.job, self._model, final, self._folder)
                self._phases.add("export", time.monotonic() - begun)
        self._finish(plan)

    def _finish(self, plan: LegStarted) -> None:
        mode = self._mode
        stopped = None
        if mode.step < plan.total_steps:
            stopped = self._trainer.stop or "callback"
        self._trainer.send(
            LegFinished(
                run_id=self._leg.run_id,
                steps=mode.step,
                samples=self._progress.samples(mode.step),
                seconds=self._last - self._start,
                stopped=stopped,
                optimizer_iterations=int(state.to_numpy(mode.model.optimizer.iterations)),
                phases=dict(self._phases.seconds),
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
