"""The job's Keras callbacks: their side effects happen once, on the leader; their decisions apply to all replicas.

Callbacks work on a plain copy of the model, outside any strategy, which has the replicas' state when a hook begins.
Whatever they can do to a model in `fit` works there: evaluate it, save it, read its weights. What a hook changed
(`stop_training`, the learning rate, weights) is handed to the mode, which applies it to every replica before the next
step. See docs/callbacks.md and docs/adr/0004-callbacks.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.api import Job
from workers.data.evaluation import evaluation_data
from workers.data.file_caches import refuse_shared_files
from workers.data.stream import without_tuner
from workers.model import state
from workers.model.finalize import finalize
from workers.model.learning_rate import learning_rate_variable
from workers.model.process_state import kept
from workers.model.scores import scores
from workers.model.step import SUM_OF_LOSSES
from workers.modes.mode import Call, Consult, Decision
from workers.session import say
from workers.settings import ReplicaSettings
from workers.snapshot import CallbackMemory, Snapshot
from workers.training.callback_errors import naming_the_callback
from workers.training.callback_memory import recall, remember
from workers.training.callback_needs import (
    append_to_logs,
    callbacks_of,
    how_often,
    monitors_validation,
    needs_model_after_calls,
    say_which_need_every_batch,
)

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Callbacks:
    """The callbacks of one leg, on the leader."""

    def __init__(self, job: Job, model: keras.Model, settings: ReplicaSettings) -> None:
        self._job = job
        self._model = model
        self._settings = settings
        callbacks = callbacks_of(job)
        say_which_need_every_batch(callbacks, settings.steps_per_call)
        self.consult = max(map(how_often, callbacks), default=Consult.NEVER)
        """How often the callbacks have to be called."""
        self._needs_model = any(map(needs_model_after_calls, callbacks))
        self._validates = bool(callbacks) and (job.validate_each_epoch or any(map(monitors_validation, callbacks)))
        self._callbacks = callbacks
        self._evaluation: tf.data.Dataset | None = None
        self._steps: list[Mapping[str, float]] = []
        self._sums: dict[str, float] = {}
        self._logs: dict[str, float] = {}
        self._epoch = self._call = 0
        self._begun = False  # the batch hooks of the next call
        self._steps_per_epoch = 1
        self._memory: CallbackMemory | None = None
        self._resumed = False
        self.state: Snapshot | None = None
        """The model's state after the latest hooks, if they changed more than its learning rate; else None."""
        self.validation_seconds = 0.0  # of the hooks so far, for the evaluations at the ends of epochs

    def start_at(
        self, epoch: int, steps_per_epoch: int, memory: CallbackMemory | None = None, *, resumed: bool = False
    ) -> None:
        """Continue within `epoch`, counted from 0, with the callbacks' saved state. `resumed`: steps came before."""
        self._epoch, self._steps_per_epoch = epoch + self._job.initial_epoch, steps_per_epoch
        self._memory, self._resumed = memory, resumed

    def memory(self) -> CallbackMemory | None:
        """Save the callbacks' state, for a leg that continues from here; None if they are never called."""
        if not self.consult:
            return None
        taken = remember(self._list.callbacks, self._steps)
        return replace(taken, document=taken.document | {"begun": self._begun, "epoch": self._epoch})

    def begin(self, total_steps: int) -> Decision:
        """Begin training, and an epoch unless one has begun already. All replicas start from the model's state."""
        import keras

        if not self.consult:
            return Decision()
        self._model.stop_training = False
        start = state.read(self._model)

        def hooks() -> None:
            if self._memory is not None:
                append_to_logs(self._callbacks)
            self._list = keras.callbacks.CallbackList(
                self._callbacks,
                add_history=True,
                model=self._model,  # `set_model` may change it, as `on_train_begin` may
                verbose=0,
                epochs=self._job.initial_epoch + -(-total_steps // self._steps_per_epoch),
                steps=self._steps_per_epoch,
            )
            self._list.on_train_begin()
            if self._resumed:
                self._undo_since(start)
            if self._memory is None:
                self._list.on_epoch_begin(self._epoch)
            else:  # the current epoch has begun already
                self._log(recall(self._memory, self._list.callbacks))
                self._begun = bool(self._memory.document.get("begun"))
                if self._memory.document.get("epoch", self._epoch) < self._epoch:  # its run was stopped before its end
                    self._epoch -= 1
                    self._end_and_begin()

        return replace(self._run(start, hooks), consult=self.consult, begun=self._begun)

    def _undo_since(self, start: Snapshot) -> None:
        """Put the model back into the state of the checkpoint, which has all that callbacks did when the run began."""
        if _is_equal(start, state.read(self._model), None):
            return
        state.load(self._model, start)
        say("callbacks changed the model when training began again: the state of Regatta's checkpoint is kept instead")

    def add_logs(self, call: Call, names: Sequence[str]) -> None:
        """Add what the steps of a call logged to the current epoch."""
        if self.consult:
            self._call = len(self._steps)
            rows = [dict(zip(names, map(float, row), strict=True)) for row in call.logs]
            self._log([{name: value for name, value in row.items() if name != SUM_OF_LOSSES} for row in rows])

    def call_begins(self) -> Decision:
        """Run the hooks that precede the batches of the next call, on the state that the hooks before them left."""
        self._call = len(self._steps)
        return self._run(state.read(self._model) if self._needs_model else None, self._begin_batch, load=False)

    def call_ended(self, snapshot: Callable[[], Snapshot], *, begins: bool = False) -> Decision:
        """Run the batch hooks for the latest call: once, with the index of its last batch, as Keras does.

        `begins`: then those that precede the next call, unless a callback stops training. All replicas wait meanwhile,
        once instead of twice.
        """

        def hooks() -> None:
            if not self._begun:
                self._begin_batch()
            self._begun = False
            self._list.on_train_batch_end(len(self._steps) - 1, self._means())
            if begins and not self._model.stop_training:
                self._call = len(self._steps)
                self._begin_batch()

        return replace(self._run(snapshot() if self._needs_model else None, hooks), begun=self._begun)

    def _begin_batch(self) -> None:
        self._begun = True
        self._list.on_train_batch_begin(self._call)

    def epoch_ended(self, snapshot: Snapshot) -> Decision:
        """End the epoch, and begin the next one unless a callback stops training."""
        return self._run(snapshot, self._end_and_begin)

    def _end_and_begin(self) -> None:
        self._end_epoch()
        if not self._model.stop_training:
            self._list.on_epoch_begin(self._epoch)

    def finish(self, snapshot: Snapshot) -> Decision:
        """End training, as `fit` does. An epoch that has begun ends with it, however few steps it had."""

        def hooks() -> None:
            if self._steps:
                self._end_epoch()
            finalize(self._model)
            self._list.on_train_end(self._logs)

        return self._run(snapshot, hooks)

    def _end_epoch(self) -> None:
        validates = self._validates and self._job.validates_after(self._epoch)
        self._logs = self._means() | (self._validate() if validates else {})
        self._steps, self._sums = [], {}
        self._epoch += 1
        self._list.on_epoch_end(self._epoch - 1, self._logs)

    def _run(self, snapshot: Snapshot | None, hooks: Callable[[], None], *, load: bool = True) -> Decision:
        """Run `hooks` on the model in the state of `snapshot` (as it is, if None); returns what they changed.

        `load`: the model is not in that state yet.
        """
        if snapshot is not None and load:
            state.load(self._model, snapshot)
        before = self._rate()
        with naming_the_callback(), kept("a callback"):
            hooks()
        rate = self._rate()
        self.state = None
        if snapshot is not None:
            after = state.read(self._model, step=snapshot.step, samples=snapshot.samples, clock=snapshot.clock)
            self.state = None if _is_equal(snapshot, after, self._rate_position()) else after
        return Decision(
            stop=bool(self._model.stop_training),
            learning_rate=None if rate == before else rate,
            rewritten=self.state is not None,
        )

    def _log(self, steps: Sequence[Mapping[str, float]]) -> None:
        """Add steps to the epoch. Their sums are kept, because a mean is wanted as often as after every batch."""
        self._steps += steps
        for step in steps:
            for name, value in step.items():
                self._sums[name] = self._sums.get(name, 0.0) + value

    def _means(self) -> dict[str, float]:
        """Means of what the epoch's steps have logged; if it has none (in a round of `local`), the last ones."""
        if not self._steps:
            return {name: value for name, value in self._logs.items() if not name.startswith("val_")}
        return {name: total / len(self._steps) for name, total in self._sums.items()}

    def _validate(self) -> dict[str, float]:
        import tensorflow as tf

        begun = time.monotonic()
        if self._evaluation is None:
            dataset = evaluation_data(self._job, self._settings)
            if dataset is None:
                return {}
            refuse_shared_files(dataset, "eval_dataset", "the leader, for callbacks, and the evaluator")
            self._evaluation = without_tuner(dataset.prefetch(tf.data.AUTOTUNE) if self._settings.prefetch else dataset)
        found = scores(self._model, self._evaluation, self._list)
        self.validation_seconds += time.monotonic() - begun
        return {f"val_{name}": value for name, value in found.items()}

    def _rate(self) -> float | None:
        variable = learning_rate_variable(self._model)
        return None if variable is None else float(variable.numpy())

    def _rate_position(self) -> int | None:
        variable = learning_rate_variable(self._model)
        return next((i for i, v in enumerate(state.optimizer_variables(self._model)) if v is variable), None)


def _is_equal(one: Snapshot, other: Snapshot, ignored: int | None) -> bool:
    """Whether two states are equal, apart from the optimizer variable at index `ignored`."""
    pairs = list(zip(one.weights, other.weights, strict=True))
    pairs += [p for i, p in enumerate(zip(one.optimizer, other.optimizer, strict=True)) if i != ignored]
    return all(a.tobytes() == b.tobytes() for a, b in pairs)
