"""A script as a job: its `fit` gives the model, the data, the callbacks and the budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.api import DataContext, Job, TaskContext
from jobs.scripts import folders
from jobs.scripts.as_tried import check
from jobs.scripts.capture import WaitingScript, capture, look_ahead
from jobs.scripts.copied_model import NotCopied, copied
from jobs.scripts.earlier_fits import EarlierFits, written_since
from jobs.scripts.execution import Execution, Script
from jobs.scripts.fit_call import FitCall
from jobs.scripts.intercept import Fit

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
        fit: int | None = Field(None, ge=1)
        """The number of the call of `fit` that is trained, from 1; by default the last."""
        as_tried: list[dict[str, float | None]] = Field(default_factory=list)
        """Epochs, batch size and validation steps that each fit was called with when the script was tried, found out
        by itself: a fit that is then called with others is refused. Without what the spec replaces."""

    file: ClassVar[Path]
    shown: ClassVar[str]

    may_lack_evaluation_data = True
    shows_output = True

    def __init__(self, params: Any = None) -> None:
        super().__init__(params)
        self._task = TaskContext(Path.cwd(), 0)
        self._moved = False
        """The leader's files are in the run's folder."""
        self._first: FitCall | None = None
        self._waiting: WaitingScript | None = None
        self._own: FitCall | None = None
        """The call whose model the next `build_model` returns: this task's copy outside of any strategy."""
        self._execution: Execution
        """This task's latest own run of the script."""
        self._answers: Sequence[Any] = ()
        """What calls of Keras before `fit` have returned in this task's latest own run of the script."""
        self._earlier = EarlierFits((), Path.cwd())
        self._written: Callable[[], Mapping[str, bytes]] = dict
        """What the script has written since its `fit` began, on the leader of an earlier fit."""

    def begin_task(self, context: TaskContext) -> None:
        """Run in the user's folder if this task leads and its files are no other run's, else in a folder of its own."""
        self._task = context
        self._earlier = EarlierFits(context.earlier_fits, context.directory)
        if context.leads and not context.files_apart:
            os.chdir(context.directory)
        else:
            folders.enter(context.directory, folders.scratch())

    @property
    def files_folder(self) -> Path | None:
        """None, because the working folder is what paths of callbacks are relative to."""
        return None

    def begin_run(self, seed: int) -> None:
        """Have the next `build_model` return the script's own model, built with `seed` if this task leads."""
        if self._task.leads:
            self._enter_run()
            if self._waiting is None or self._waiting.execution.script.seed != seed or self._own:
                self._wait_in_fit(seed)
        self._own = self._waiting.call if self._waiting else self._captured
        if self._waiting and self._task.end_fit and self.run_directory:
            self._written = written_since(self.run_directory)

    def _enter_run(self) -> None:
        if not self._task.files_apart or self.run_directory is None:
            return
        if self._moved:
            folders.enter(self._task.directory, self.run_directory)
        else:
            folders.move(self.run_directory)
        self._moved = True

    def build_model(self) -> keras.Model:
        if self._own is not None:
            return self._own.model
        # In the scope of the strategy that the caller is in.
        self.shows_output = False
        try:
            with folders.within(self._task.directory, folders.scratch()):
                return self._second_model()
        finally:
            self.shows_output = True

    def _second_model(self) -> keras.Model:
        """A copy of the script's own model if that is known to be like it, else that of another run of the script."""
        try:
            return copied(self._captured.model, self._execution)
        except NotCopied as why:
            self._task.log(f"{self.shown} is run a second time, for a second model: {why}")
        repeated = self._answers, self._earlier.make_again
        call, _ = capture(self.script(self._task.seed), self._fit, self._other, repeated)
        return call.model

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        return self._captured.data.dataset(context.seed - self._task.seed)

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
        """Go on with the script after its `fit`, on the leader; an earlier `fit` ends here."""
        if self._task.end_fit is not None:
            call = self._own or self._captured
            self._task.end_fit(model, call.callbacks, self._written())
        elif self._waiting is not None:
            self._waiting.go_on(model.history)
        folders.leave(self._task.directory)  # the next run has a folder of its own

    @property
    def _captured(self) -> FitCall:
        """The first capture in this task, which gives the data."""
        if self._first is None:  # eagerly, because a mode reads a batch before it traces anything
            if self._task.leads:
                self._first = self._wait_in_fit(self._task.seed)
            else:
                script = self.script(self._task.seed)
                self._first, self._execution = capture(script, self._fit, self._other)
                self._answers = self._execution.answers
                self._check(self._first)
        return self._first

    def _wait_in_fit(self, seed: int) -> FitCall:
        """Run the script up to its `fit`, from where it is to go on."""
        self.shows_output = not self._task.earlier_fits  # whose leaders have shown what comes before them
        self._waiting = WaitingScript(self.script(seed), self._fit, self._other)
        self._answers, self._execution = self._waiting.answers, self._waiting.execution
        self._check(self._waiting.call)
        return self._waiting.call

    def _check(self, call: FitCall) -> None:
        check(call.budget(), self.params.as_tried, self._fit, self.file.name, is_earlier=self._task.end_fit is not None)

    @cached_property
    def _fit(self) -> int:
        return self.params.fit or look_ahead(self.script(0), None)[1].fits

    def script(self, seed: int) -> Script:
        return Script(self.file, self.shown, tuple(self.params.args), seed)

    def _other(self, reached: Fit, number: int) -> keras.callbacks.History:
        """What a `fit` that is not this job's returns: that of its own run, or Keras trains it in this process."""
        if number in self._earlier:
            history = self._earlier.restore(reached, number)
            self.shows_output = self.shows_output or number == len(self._earlier)
            return history
        self._task.tell(
            f"fit {number} ({reached.where}) is trained by Keras in one process, because fit {self._fit} is this "
            f"run's; --fit {number} distributes that one instead"
        )
        return reached.train()


def script_job(path: Path, shown: str) -> type[ScriptJob]:
    """The job class of the script in the file `path`, which the user wrote as `shown`."""
    return type(path.stem, (ScriptJob,), {"file": path, "shown": shown, "__doc__": f"The script {path.name}."})
