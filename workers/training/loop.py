"""The training loop: one leg of a run, in any mode.

The loop handles the number of steps, clocks, snapshots and when to stop; the mode combines the replicas' work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from workers.messages import CALLBACKS, NOT_FINITE, RESIZED, ROLLBACK, SWITCHED, TO_BE_RESUMED, VALIDATION, Leg, Start
from workers.model import state
from workers.model.finalize import finalize, is_finalized
from workers.model.learning_rate import learning_rate
from workers.modes.mode import Call, Consult, Decision, Phases
from workers.modes.registry import traits
from workers.news import Deciding, LegStarted
from workers.snapshot import Snapshot
from workers.stragglers import Profile
from workers.training.budget import planned
from workers.training.callbacks import Callbacks
from workers.training.export import export, run_folder
from workers.training.finite import FiniteWeights
from workers.training.progress import Progress
from workers.training.reports import LegReports
from workers.training.schedule import CallTuner, CheckpointSchedule, Epochs
from workers.training.start import initial_model, resume
from workers.training.timing import LegClock
from workers.training.trainer import Trainer


def train(trainer: Trainer, leg: Leg, snapshot: Snapshot | None = None) -> None:
    """Train `leg`. `snapshot` is the one that `leg.start` describes, on the leader only; None at step 0."""
    trainer.begin(leg)
    _LegRun(trainer, leg, snapshot).run()


class _LegRun:
    """Runs one leg, from its initial weights to its last snapshot."""

    def __init__(self, trainer: Trainer, leg: Leg, snapshot: Snapshot | None) -> None:
        self._clock = LegClock(leg.start)
        self._start_snapshot = snapshot
        self._trainer = trainer
        self._mode = trainer.mode
        self._leg = leg
        self._phases = Phases()
        sleeps = Profile.parse(leg.settings.straggler).sleeps  # before each single step
        self._tuner = CallTuner(1 if sleeps else leg.settings.steps_per_call)
        self._callbacks: Callbacks | None = None
        """On the leader only; the other replicas follow its decisions."""
        self._weights: FiniteWeights | None = None
        """On the leader only, and if the leg is to end when they are not finite."""
        self._lockstep = traits(leg.settings.mode).lockstep
        self._epochs: Epochs | None = None  # counted only if there are callbacks
        self._last = 0
        """The step at which the leg ends: the run's last, or that at which another mode takes over."""

    def run(self) -> None:
        mode, plan = self._mode, self._begin()
        every = plan.eval_every_steps
        next_snapshot = every * (mode.step // every + 1)
        decision = self._consult(lambda callbacks: callbacks.begin(plan.total_steps))
        if mode.leads:
            self._trainer.send(plan)
        self._checkpoints.start()
        consult = decision.consult
        if consult:
            self._epochs = self._epochs or self._count_epochs()
        if consult >= Consult.BATCH_ENDS:
            self._tuner = CallTuner(self._leg.settings.steps_per_call or 1)
        stopping, begun = decision.stop, decision.begun
        # As in `fit`, a batch that has begun is trained.
        while mode.step < self._last and (begun or not (stopping and self._are_together)):
            end = self._last if self._epochs is None else min(self._last, self._together(self._epochs.end))
            if consult is Consult.BATCHES and not begun:
                self._consult(lambda callbacks: callbacks.call_begins())
            stop = self._trainer.stop is not None or self._is_lost
            wish = Decision(steps=self._tuner.steps, stop=stop, consult=consult)
            boundary = self._together(min(next_snapshot, self._checkpoints.boundary))
            calls, decision = mode.advance(wish, min(boundary, end), end)
            begins = consult is Consult.BATCHES and mode.step < min(next_snapshot, end) and not (stopping or stop)
            decision = self._process(calls, consult, decision, begins=begins and self._lockstep)
            stopping |= decision.stop
            begun = decision.begun
            if not self._are_together:
                continue
            scored = next_snapshot <= mode.step < plan.total_steps
            if scored:
                next_snapshot += every * math.ceil((mode.step + 1 - next_snapshot) / every)
            while self._epochs and mode.step == self._together(self._epochs.end) < plan.total_steps and not stopping:
                # The state before the callbacks is scored; training continues from the state after them.
                self._snapshot(score=scored, keep=False)
                scored = False
                decision = self._consult(lambda callbacks: callbacks.epoch_ended(self._reports.state()))
                stopping = decision.stop
                self._epochs.number += 1
            if mode.step < plan.total_steps:
                keep = self._checkpoints.due(mode.step)
                if keep:
                    # A checkpoint counts every update that is in its weights, so nothing may be in flight while it is
                    # taken. A snapshot that is only scored may be read while workers continue.
                    decision = self._process(mode.drain(), consult, decision)
                    stopping |= decision.stop
                self._snapshot(score=scored, keep=keep)
        self._end(plan, switches=self._last <= mode.step < plan.total_steps and not stopping)

    def _process(
        self, calls: Sequence[Call], consult: Consult, decision: Decision, *, begins: bool = False
    ) -> Decision:
        """Report completed calls and run batch hooks; returns the decision that holds from now on.

        `begins`: another call follows at once, whose hooks may run as well.
        """
        for call in calls:
            self._report(call)
            self._tuner.observe(len(call.steps), call.ended - call.started)
            if consult >= Consult.CALLS:
                decision = self._consult(lambda own: own.call_ended(self._reports.state, begins=begins))
        if self._weights is not None and calls:
            self._weights.observe(calls, self._reports.state)
        return decision

    def _together(self, step: int) -> int:
        """The first step from `step` on after which all replicas have one state."""
        return step + -step % self._mode.round_steps

    @property
    def _are_together(self) -> bool:
        return self._mode.step % self._mode.round_steps == 0

    @property
    def _is_lost(self) -> bool:
        """Whether the weights are not finite, so that training on is pointless."""
        return self._weights is not None and self._weights.lost

    def _begin(self) -> LegStarted:
        """Prepare everything that comes before training; returns the plan."""
        trainer, mode, leg = self._trainer, self._mode, self._leg
        start, settings = leg.start or Start(0, 0, 0.0), leg.settings
        workers = max(1, len(trainer.assignment.tf_config.get("cluster", {}).get("worker", ())))
        self._progress = Progress(start, workers, mode.batches_per_step, settings.batch_size)
        self._reports = LegReports(leg, mode, self._progress, self._clock, self._phases, trainer.send)
        plan, self._last = planned(leg, trainer, self._progress)
        every, seconds = (settings.checkpoint_every, settings.checkpoint_seconds) if leg.checkpoints else (None, None)
        self._checkpoints = CheckpointSchedule(every, seconds or None, start.step, plan.global_batch)
        if mode.leads:
            self._folder = trainer.job.run_directory = run_folder(leg.directory)
        self._model = initial_model(trainer.job, settings)
        mode.scale_schedule(start.schedule_scale)
        mode.begin(resume(self._model, start, self._start_snapshot), settings.seed)
        if mode.leads and leg.stops_if_not_finite:
            self._weights = FiniteWeights([variable.trainable for variable in state.state_variables(mode.model)])
        if mode.leads:
            self._callbacks = Callbacks(trainer.job, self._model, settings)
            if self._callbacks.consult:
                self._epochs = self._count_epochs()
                first = Epochs(trainer.samples_per_epoch(), plan.global_batch)
                memory = self._start_snapshot.callbacks if self._start_snapshot else None
                self._callbacks.start_at(self._epochs.number, first.end, memory, resumed=start.step > 0)
        self._phases.add("load", self._clock.loaded())
        rate, epoch = learning_rate(self._model), trainer.counted_samples
        return replace(plan, clock=self._clock.seconds, learning_rate=rate, samples_per_epoch=epoch)

    def _count_epochs(self) -> Epochs:
        step = self._mode.step
        samples = self._trainer.samples_per_epoch()
        return Epochs(samples, self._progress.global_batch, step, self._progress.samples(step))

    def _consult(self, ask: Callable[[Callbacks], Decision]) -> Decision:
        """Run the leader's callbacks, and apply their decision to every replica."""
        before = self._callbacks.validation_seconds if self._callbacks else 0.0
        begun = time.monotonic()
        wish = self._decide(ask)
        stop = wish.stop or self._trainer.stop is not None or self._is_lost
        decision = self._mode.agree(replace(wish, steps=self._tuner.steps, stop=stop))
        if decision.learning_rate is not None:
            self._reports.rate_changed()
        if decision.rewritten:
            self._mode.adopt(self._callbacks.state if self._callbacks else None)
        self._clock.advance()
        if self._callbacks is not None and self._callbacks.consult:
            validation = self._callbacks.validation_seconds - before
            self._clock.spent.add(VALIDATION, validation)
            self._clock.spent.add(CALLBACKS, time.monotonic() - begun - validation)
        return decision

    def _decide(self, ask: Callable[[Callbacks], Decision]) -> Decision:
        """Run the leader's callbacks. The driver is told, because it would take a long silence for a hang."""
        if self._callbacks is None or self._callbacks.consult is Consult.NEVER:
            return Decision() if self._callbacks is None else ask(self._callbacks)
        self._trainer.send(Deciding(self._leg.run_id, begins=True))
        try:
            return ask(self._callbacks)
        finally:
            self._trainer.send(Deciding(self._leg.run_id, begins=False))

    def _report(self, call: Call) -> None:
        self._reports.call(call, together=self._lockstep)
        if self._callbacks is not None:
            self._callbacks.add_logs(call, self._mode.log_names)

    def _snapshot(self, *, score: bool, keep: bool, final: bool = False) -> Snapshot | None:
        if not self._mode.leads or not (score or keep):
            return None
        memory = self._callbacks.memory() if keep and self._callbacks is not None else None
        return self._reports.snapshot(memory, score=score, keep=keep, final=final)

    def _end(self, plan: LegStarted, *, switches: bool) -> None:
        """End the leg, which another mode continues if it `switches`: all replicas agree on that, not on `stop`."""
        mode = self._mode
        for call in mode.drain():
            self._report(call)
        self._reports.flush()
        stop = self._trainer.stop if mode.step < plan.total_steps else None
        continues = switches or stop in (*TO_BE_RESUMED, RESIZED)
        keeps = self._leg.checkpoints is not None and self._trainer.stop != ROLLBACK
        changes = self._epochs is not None or is_finalized(mode.model)
        # Taken before `on_train_end`, because a run that continues from this checkpoint has not reached its end.
        self._snapshot(score=False, keep=keeps and (changes or continues))
        if self._epochs is not None:
            self._consult(lambda callbacks: Decision() if continues else callbacks.finish(self._reports.state()))
        elif is_finalized(mode.model) and self._trainer.stop != ROLLBACK and not continues:
            mode.adopt(self._finalized() if mode.leads else None)
        if self._trainer.stop != ROLLBACK and not continues:
            final = self._snapshot(score=True, keep=keeps and not changes, final=True)
            self._clock.advance()
            if final is not None and self._weights is not None:
                self._weights.look(final)
            if final is not None and self._folder is not None and not self._is_lost:
                with self._phases.timed("export"):
                    export(self._trainer.job, self._model, final, self._folder)
        if mode.leads:
            early = SWITCHED if switches else self._trainer.stop or "callback"
            stopped = None if mode.step >= plan.total_steps else early
            self._reports.finished(NOT_FINITE if self._is_lost and self._trainer.stop != ROLLBACK else stopped)

    def _finalized(self) -> Snapshot:
        """The state now, with the weights that `fit` would return."""
        now = self._reports.state()
        state.load(self._model, now)
        finalize(self._model)
        return replace(now, weights=state.read(self._model).weights)
