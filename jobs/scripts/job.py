"""A script as a job: its `fit` gives the model, the data, the callbacks and the budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.api import DataContext, Job
from jobs.scripts.capture import WaitingScript, capture
from jobs.scripts.fit_call import FitCall
from jobs.scripts.running import Fit, Script

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class ScriptJob(Job):
    """Base class of the jobs that scripts become; `script_job` makes one for a file."""

    class Params(BaseModel):
        """What a script can be given."""

        model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

        args: list[str] = Field(default_factory=list)
        """Its arguments, sys.argv[1:]."""
        fit: int = Field(1, ge=1)
        """The number of the call of `fit` that is trained, from 1."""

    file: ClassVar[Path]
    shown: ClassVar[str]

    may_lack_evaluation_data = True
    leads = False
    """This task's script goes on after `fit`."""
    says: Callable[[str], None] = staticmethod(lambda _: None)
    """Tells the user something."""
    repeats = False
    """The script does again what it has done in this task before."""
    seed = 0
    """The seed of the group's first run."""
    apart = False
    """Files of callbacks, and of what comes after `fit`, go to the run's folder."""

    def __init__(self, params: Any = None) -> None:
        super().__init__(params)
        self._first: FitCall | None = None
        self._waiting: WaitingScript | None = None
        self._own: FitCall | None = None
        """The call whose model the next `build_model` returns: this task's copy outside of any strategy."""
        self._histories: dict[int, keras.callbacks.History] = {}
        """What each other `fit` has returned in this task, by its number."""

    def begin_task(self, seed: int, *, leads: bool, apart: bool) -> None:
        """Say what this task does: its first run's seed, whether its script goes on after `fit`, and where."""
        self.seed, self.leads, self.apart = seed, leads, apart

    @property
    def files_folder(self) -> Path | None:
        return self.run_directory if self.apart else None

    def begin_run(self, seed: int) -> None:
        """Have the next `build_model` return the script's own model, built with `seed` if this task leads."""
        if self.leads and (self._waiting is None or self._waiting.execution.script.seed != seed or self._own):
            self._waiting = WaitingScript(self.script(seed), self.params.fit, self.other_fit)
        self._own = self._waiting.call if self._waiting else self._captured

    def build_model(self) -> keras.Model:
        if self._own is not None:
            return self._own.model
        # Run once more, in the scope of the strategy that the caller is in.
        self.repeats = True
        try:
            call, _ = capture(self.script(self.seed), self.params.fit, self.other_fit)
        finally:
            self.repeats = False
        return call.model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        return self._captured.data.dataset(context.seed - self.seed)

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset | None:
        validation = self._captured.validation
        return None if validation is None else validation.dataset()

    @property
    def samples_per_epoch(self) -> int | None:  # type: ignore[override]
        return self._captured.data.samples_per_epoch

    @property
    def validate_each_epoch(self) -> bool:  # type: ignore[override]
        return self._captured.validation is not None

    @property
    def initial_epoch(self) -> int:  # type: ignore[override]
        return self._captured.initial_epoch

    def validates_after(self, epoch: int) -> bool:
        return self._captured.validates(epoch)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        import keras

        call = self._own or self._captured
        return [*call.callbacks, keras.callbacks.History()]

    def after_training(self, model: keras.Model, directory: Path) -> None:
        """Go on with the script after its `fit`, on the leader."""
        if self._waiting is None:
            return
        here = Path.cwd()
        if self.apart:
            os.chdir(directory)
        try:
            self._waiting.go_on(model.history)
        finally:
            os.chdir(here)

    @property
    def _captured(self) -> FitCall:
        """The first capture in this task, which gives the data."""
        if self._first is None:  # eagerly, because a mode reads a batch before it traces anything
            if self.leads:
                self._waiting = WaitingScript(self.script(self.seed), self.params.fit, self.other_fit)
                self._first = self._waiting.call
            else:
                self._first, _ = capture(self.script(self.seed), self.params.fit, self.other_fit)
        return self._first

    def script(self, seed: int) -> Script:
        return Script(self.file, self.shown, tuple(self.params.args), seed)

    def other_fit(self, reached: Fit, number: int) -> keras.callbacks.History:
        """Train a `fit` that is not this job's with Keras, in this process; when the script repeats, do not."""
        if self.repeats:
            return self._histories[number]
        self.says(
            f"fit {number} ({reached.where}) is trained by Keras in one process, because fit {self.params.fit} is "
            f"this run's; --fit {number} distributes that one instead"
        )
        self._histories[number] = reached.train()
        return self._histories[number]


def script_job(path: Path, shown: str) -> type[ScriptJob]:
    """The job class of the script in the file `path`, which the user wrote as `shown`."""
    return type(path.stem, (ScriptJob,), {"file": path, "shown": shown, "__doc__": f"The script {path.name}."})


@dataclass(frozen=True)
class Look:
    """What is known of a job before it is trained."""

    defaults: Mapping[str, Any]
    notes: Sequence[str] = ()


def look(job: ScriptJob, directory: str) -> Look:
    """Run the script up to its `fit`, in `directory`, to see what it asks for."""
    os.chdir(directory)
    call, execution = capture(job.script(0), job.params.fit, job.other_fit)
    defaults: dict[str, Any] = {"global_batch_size": call.data.batch_size, "epochs": call.epochs - call.initial_epoch}
    if call.validation is not None and call.validation_steps:
        defaults["eval_steps"] = call.validation_steps
    return Look(defaults, execution.notes)
