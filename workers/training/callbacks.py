"""The job's Keras callbacks: their side effects happen once, on the leader; what they decide holds everywhere.

Callbacks work on a plain copy of the model, outside of any strategy, that has the state of the replicas when a
hook begins. Whatever they may do to a model in `fit` works there: evaluate it, save it, read its weights. What they
changed when the hook ends (`stop_training`, the learning rate, weights) is handed to the mode, which makes every
replica obey before the next step. See docs/callbacks.md and docs/adr/0004-callbacks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

import numpy as np

from jobs.api import DataContext, Job
from workers.data.stream import checked, without_tuner
from workers.errors import CallbackError
from workers.model import state
from workers.model.learning_rate import learning_rate_variable
from workers.modes.mode import Call, Consult, Decision
from workers.snapshot import CallbackMemory, Snapshot
from workers.training.callback_memory import recall, remember

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_FILE_ATTRIBUTES = ("filepath", "filename", "log_dir", "backup_dir", "_weights_path", "_training_metadata_path",
                    "_prev_weights_path", "_prev_training_metadata_path")  # fmt: skip
"""Where Keras' callbacks keep the names of what they write."""
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_LOGS_ONLY = ("TensorBoard", "TerminateOnNaN", "ProgbarLogger")
"""Keras' callbacks whose batch hooks look at the logs alone: the model need not be brought up to date for them."""


class Callbacks:
    """One leg's callbacks, on the leader."""

    def __init__(self, job: Job, model: keras.Model, batch_size: int, *, prefetch: bool = True) -> None:
        self._job = job
        self._model = model
        self._batch_size = batch_size
        self._prefetch = prefetch
        made = _made(job)
        for callback in made:
            _write_below(job.run_directory, callback)
        self.consult = max(map(_consult, made), default=Consult.NEVER)
        """How often they have to be asked."""
        self._needs_model = any(_consult(c) is Consult.CALLS and type(c).__name__ not in _LOGS_ONLY for c in made)
        self._validates = bool(made) and (job.validate_each_epoch or any(map(_monitors_validation, made)))
        self._made = made
        self._evaluation: tf.data.Dataset | None = None
        self._steps: list[dict[str, float]] = []
        self._logs: dict[str, float] = {}
        self._epoch = 0
        self._call = 0
        self._steps_per_epoch = 1
        self._memory: CallbackMemory | None = None
        self.state: Snapshot | None = None
        """What the hooks made of the model, where they changed more than its learning rate."""

    def start_at(self, epoch: int, steps_per_epoch: int, memory: CallbackMemory | None = None) -> None:
        """Training goes on from within `epoch`, counted from 0; `memory` is what they held then."""
        self._epoch, self._steps_per_epoch, self._memory = epoch, steps_per_epoch, memory

    def memory(self) -> CallbackMemory | None:
        """What they hold now, for whoever goes on from here; None if they were never asked anything."""
        return remember(self._list.callbacks, self._steps) if self.consult else None

    def begin(self, total_steps: int) -> Decision:
        """Training begins, and with it the first epoch; the model is in the state that all start from."""
        import keras

        if not self.consult:
            return Decision()
        self._list = keras.callbacks.CallbackList(
            self._made,
            add_history=True,
            model=self._model,
            verbose=0,
            epochs=-(-total_steps // self._steps_per_epoch),
            steps=self._steps_per_epoch,
        )
        self._model.stop_training = False

        def hooks() -> None:
            if self._memory is not None:
                _append(self._made)
            self._list.on_train_begin()
            if self._memory is None:
                self._list.on_epoch_begin(self._epoch)
            else:  # the epoch under way has begun already, and must not begin twice
                self._steps = recall(self._memory, self._list.callbacks)

        return replace(self._ask(state.read(self._model), hooks), consult=self.consult)

    def note(self, call: Call, names: Sequence[str]) -> None:
        """Keep what the steps of a call logged."""
        if self.consult:
            self._call = len(self._steps)
            self._steps += [dict(zip(names, map(float, row), strict=True)) for row in call.logs]

    def call_ended(self, snapshot: Callable[[], Snapshot]) -> Decision:
        """Tell of the call noted last, as Keras does with fused steps: once, with the number of its last batch."""

        def hooks() -> None:
            self._list.on_train_batch_begin(self._call)
            self._list.on_train_batch_end(len(self._steps) - 1, self._means())

        return self._ask(snapshot() if self._needs_model else None, hooks)

    def epoch_ended(self, snapshot: Snapshot) -> Decision:
        """The epoch is over; the next one begins, unless a callback stops training."""

        def hooks() -> None:
            self._end_epoch()
            if not self._model.stop_training:
                self._list.on_epoch_begin(self._epoch)

        return self._ask(snapshot, hooks)

    def finish(self, snapshot: Snapshot) -> Decision:
        """Training is over, maybe within an epoch, which then counts as one."""

        def hooks() -> None:
            if self._steps:
                self._end_epoch()
            self._list.on_train_end(self._logs)

        return self._ask(snapshot, hooks)

    def _end_epoch(self) -> None:
        self._logs = self._means() | (self._validate() if self._validates else {})
        self._steps = []
        self._epoch += 1
        self._list.on_epoch_end(self._epoch - 1, self._logs)

    def _ask(self, snapshot: Snapshot | None, hooks: Callable[[], None]) -> Decision:
        """Run `hooks` on the model in the state of `snapshot` (as it is, if None); what they changed is the wish."""
        if snapshot is not None:
            state.load(self._model, snapshot)
        before = self._rate()
        with _named(self._list):
            hooks()
        rate = self._rate()
        self.state = None
        if snapshot is not None:
            after = state.read(self._model, step=snapshot.step, samples=snapshot.samples, clock=snapshot.clock)
            self.state = None if _same(snapshot, after, self._rate_position()) else after
        return Decision(
            stop=bool(self._model.stop_training),
            learning_rate=None if rate == before else rate,
            rewritten=self.state is not None,
        )

    def _means(self) -> dict[str, float]:
        """Of what the steps of the epoch logged so far."""
        names = self._steps[-1] if self._steps else ()
        return {name: float(np.mean([step[name] for step in self._steps])) for name in names}

    def _validate(self) -> dict[str, float]:
        import tensorflow as tf

        if self._evaluation is None:
            dataset = checked(self._job.eval_dataset(DataContext(self._batch_size)), "eval_dataset")
            self._evaluation = without_tuner(dataset.prefetch(tf.data.AUTOTUNE) if self._prefetch else dataset)
        logs = self._model.evaluate(self._evaluation, callbacks=self._list, return_dict=True, verbose=0)
        return {f"val_{name}": float(value) for name, value in logs.items()}

    def _rate(self) -> float | None:
        variable = learning_rate_variable(self._model)
        return None if variable is None else float(variable.numpy())

    def _rate_position(self) -> int | None:
        variable = learning_rate_variable(self._model)
        return next((i for i, v in enumerate(state.optimizer_variables(self._model)) if v is variable), None)


def _made(job: Job) -> list[keras.callbacks.Callback]:
    import keras

    made = job.callbacks()
    if not isinstance(made, list | tuple | type(None)):
        raise CallbackError(f"callbacks() returned {type(made).__name__}; it has to return a list of Keras callbacks.")
    for callback in made or ():
        if not isinstance(callback, keras.callbacks.Callback):
            raise CallbackError(
                f"callbacks() returned a list with {callback!r} in it, which is no keras.callbacks.Callback."
            )
    return list(made or ())


def _consult(callback: keras.callbacks.Callback) -> Consult:
    from keras.src.utils import is_default

    if type(callback).__name__ == "TensorBoard" and callback.update_freq == "epoch" and not callback._should_trace:
        return Consult.EPOCHS
    listens = any(not is_default(getattr(callback, hook)) for hook in _BATCH_HOOKS)
    return Consult.CALLS if listens else Consult.EPOCHS


def _monitors_validation(callback: keras.callbacks.Callback) -> bool:
    import keras

    monitors = str(getattr(callback, "monitor", "")).startswith("val_")
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return (monitors and callback.save_best_only) or "{val_" in callback.filepath
    return monitors


def _write_below(folder: Path | None, callback: keras.callbacks.Callback) -> None:
    """Make the relative names of what a callback writes absolute: they mean the run's folder."""
    for attribute in _FILE_ATTRIBUTES if folder else ():
        name = getattr(callback, attribute, None)
        if isinstance(name, str | Path) and "://" not in str(name) and not Path(name).is_absolute():
            path = Path(str(folder), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            setattr(callback, attribute, str(path))


def _append(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """A log that is taken up again goes on; CSVLogger would begin it anew."""
    for callback in callbacks:
        if type(callback).__name__ == "CSVLogger":
            callback.append = True


def _same(one: Snapshot, other: Snapshot, ignored: int | None) -> bool:
    """Whether two states are equal, but for the optimizer variable at `ignored`."""
    pairs = list(zip(one.weights, other.weights, strict=True))
    pairs += [p for i, p in enumerate(zip(one.optimizer, other.optimizer, strict=True)) if i != ignored]
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


@contextmanager
def _named(callbacks: keras.callbacks.CallbackList) -> Iterator[None]:
    """An exception from a hook leaves with the callback's name, which Keras' list was at."""
    try:
        yield
    except Exception as error:
        for frame, _ in walk_tb(error.__traceback__):
            if frame.f_locals.get("self") is callbacks and "callback" in frame.f_locals:
                name, hook = type(frame.f_locals["callback"]).__name__, frame.f_code.co_name.lstrip("_")
                error.add_note(f"Raised in {hook} of the callback {name}.")
        raise
