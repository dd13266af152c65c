"""The API for users: `Job`, which they subclass, and `DataContext`, which its datasets receive.

A job defines the model and the data. It does not depend on replicas, parameter servers or Ray, and the same class runs
unchanged in every mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class DataContext:
    """Describes the input pipeline that a dataset is built for: its shard of the data, batch size and seed.

    Regatta shards the training data by itself: worker `i` of `n` gets every n-th batch of the job's dataset. A job can
    shard the data on its own, which is cheaper when reading is costly, by reading `shard_index` or calling
    `shard(dataset)`; Regatta detects that and does not shard a second time.
    """

    def __init__(self, batch_size: int, *, num_shards: int = 1, shard_index: int = 0, seed: int = 0) -> None:
        self.batch_size = batch_size
        """Samples per batch and replica; pass it to `dataset.batch`."""
        self.num_shards = num_shards
        """Number of input pipelines that share the data; 1 for evaluation."""
        self._shard_index = shard_index
        self.seed = seed
        """The run's seed; pass it to `shuffle`, so that every mode sees the data in the same order."""
        self.sharded_by_job = False
        """True once the job has read `shard_index` or called `shard`."""

    @property
    def shard_index(self) -> int:
        """Number of this input pipeline, 0 to `num_shards - 1`."""
        self.sharded_by_job = True
        return self._shard_index

    def shard(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Return every `num_shards`-th element of `dataset`, starting at `shard_index`; call it before `batch`."""
        return dataset.shard(self.num_shards, self.shard_index) if self.num_shards > 1 else dataset


class EndedFit(Protocol):
    """What a script's `fit` left behind that was trained as a run of its own, before this one."""

    files: Mapping[str, bytes]
    """What it wrote, by path relative to the folder of the command."""

    def restore(
        self, model: keras.Model, batch: Any, callbacks: Sequence[keras.callbacks.Callback]
    ) -> keras.callbacks.History:
        """Put a model and the callbacks that `fit` is called with into the state it ended in; returns its History.

        `batch` is one of its data, for which the model is built if it is not.
        """


EndFit = Callable[["keras.Model", "Sequence[keras.callbacks.Callback]", Mapping[str, bytes]], None]
"""Keeps what a `fit` leaves behind: its model, its callbacks, and the files that it wrote."""


@dataclass(frozen=True)
class TaskContext:
    """What a task tells its job before anything else of it is called."""

    directory: Path
    """The folder that the run's command was given in."""
    seed: int
    """Of the worker group's first run."""
    leads: bool = False
    """The task runs callbacks and `after_training`."""
    files_apart: bool = False
    """Other runs of the job have files of the same names, so this one's belong in its own folder."""
    tell: Callable[[str], None] = lambda _: None
    """Tells the user something."""
    log: Callable[[str], None] = lambda _: None
    """Writes a line to the task's log."""
    earlier_fits: Sequence[EndedFit] = ()
    """The script's fits before this run's, in order, if they were runs of their own."""
    end_fit: EndFit | None = None
    """Given if this run is such an earlier fit: the script does not go on after it."""


class Job:
    """Base class of all jobs. See docs/jobs.md."""

    class Params(BaseModel):
        """The job's own settings, set with `--set name=value` and validated before anything starts."""

        model_config = ConfigDict(extra="forbid")

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults for spec fields (`samples`, `batch_size`, `target`, ...). A spec file and flags override them."""

    class_weight: Mapping[int, float] | None = None
    """Weight of each class in the training loss, as in `fit(class_weight=...)`."""

    samples_per_epoch: int | None = None
    """Number of samples in an epoch. Required if `train_dataset` is infinite; otherwise it is counted."""

    validate_each_epoch: bool = False
    """Pass `val_*` logs to every callback at the end of each epoch. A callback that monitors one always gets them."""

    may_lack_evaluation_data: ClassVar[bool] = False
    """Whether `eval_dataset` may return None; then nothing is evaluated."""

    initial_epoch: int = 0
    """Number of the first epoch, for callbacks, as in `fit(initial_epoch=...)`."""

    run_directory: Path | None = None
    """The run's folder, set during training, where the job's callbacks may write."""

    def __init__(self, params: Any = None) -> None:
        self.params: Any = self.Params() if params is None else params

    def check_data(self) -> None:
        """Raise `DataFileError` if data are missing. Called before any process starts; must not import TensorFlow."""

    @property
    def files_folder(self) -> Path | None:
        """The folder that relative paths of callbacks are below; None for the process' own."""
        return self.run_directory

    shows_output: bool = False
    """Whether what the leader's process prints now is for the user, and not for its log alone."""

    def begin_task(self, context: TaskContext) -> None:
        """Called once in every task that has the job, before its other methods."""

    def begin_run(self, seed: int) -> None:
        """Called before the next `build_model`, if that is this task's copy outside of any strategy."""

    def build_model(self) -> keras.Model:
        """Build an ordinary, compiled Keras 3 model."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_model()")

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        """Build one epoch of training data, in batches of `context.batch_size`; Regatta repeats it."""
        raise NotImplementedError(f"{type(self).__name__} has to define train_dataset(context)")

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset | None:
        """Build the evaluation data, in batches; every snapshot is scored on all of it. None: there are none."""
        raise NotImplementedError(f"{type(self).__name__} has to define eval_dataset(context)")

    def validates_after(self, epoch: int) -> bool:
        """Whether callbacks get `val_*` after `epoch`, counted from 0, if any; see `validate_each_epoch`."""
        return True

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Create the Keras callbacks of a run; docs/callbacks.md describes when each hook runs."""
        return []

    def after_training(self, model: keras.Model, directory: Path) -> None:
        """Called once after training, with the trained model and the run's folder: for plots and exports."""
