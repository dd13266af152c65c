"""What a user writes: a `Job`, and the `DataContext` it is handed.

A job knows what is trained and on what data. It knows nothing of replicas, parameter servers or Ray, and the
same class runs unchanged in every mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class DataContext:
    """Where a dataset will be consumed: by which input pipeline of how many, in what batches.

    Regatta splits the training data between the workers by itself: worker `i` of `n` gets every n-th batch of
    the job's dataset. A job that splits the data on its own (cheaper when reading is costly) reads
    `shard_index`, or calls `shard(dataset)`; Regatta sees that and does not split a second time.
    """

    def __init__(self, batch_size: int, *, num_shards: int = 1, shard_index: int = 0, seed: int = 0) -> None:
        self.batch_size = batch_size
        """Samples per batch and replica; batch the dataset by this."""
        self.num_shards = num_shards
        """Input pipelines that share the data; 1 for evaluation."""
        self._shard_index = shard_index
        self.seed = seed
        """The run's seed: pass it to `shuffle`, so that every mode sees the same order."""
        self.sharded_by_job = False
        """Whether the job took its shard itself, by reading `shard_index` or calling `shard`."""

    @property
    def shard_index(self) -> int:
        """This pipeline's number, 0 to `num_shards - 1`."""
        self.sharded_by_job = True
        return self._shard_index

    def shard(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Every `num_shards`-th element of `dataset`, starting at `shard_index`: call it before `batch`."""
        return dataset.shard(self.num_shards, self.shard_index) if self.num_shards > 1 else dataset


class Job:
    """Base class of everything Regatta trains. See docs/jobs.md."""

    class Params(BaseModel):
        """The job's own settings; `--set name=value` lands here, validated before anything starts."""

        model_config = ConfigDict(extra="forbid")

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Spec fields this job proposes (`samples`, `batch_size`, `target`, ...). A YAML file and flags win."""

    class_weight: Mapping[int, float] | None = None
    """As `fit(class_weight=...)`: how much a sample of each class counts in the training loss."""

    samples_per_epoch: int | None = None
    """How many samples make an epoch. Needed where `train_dataset` never ends; else it is counted."""

    validate_each_epoch: bool = False
    """Give every callback the `val_*` logs at each epoch's end. A callback that monitors one gets them anyway."""

    run_directory: Path | None = None
    """The run's folder, known while training: own callbacks write below it."""

    def __init__(self, params: Any = None) -> None:
        self.params: Any = self.Params() if params is None else params

    def check_data(self) -> None:
        """Raise `DataFileError` if the data are missing. Called before any process starts, without TensorFlow."""

    def build_model(self) -> keras.Model:
        """A compiled, ordinary Keras 3 model."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_model()")

    def train_dataset(self, context: DataContext) -> tf.data.Dataset:
        """One epoch of training data, batched by `context.batch_size`; Regatta repeats it."""
        raise NotImplementedError(f"{type(self).__name__} has to define train_dataset(context)")

    def eval_dataset(self, context: DataContext) -> tf.data.Dataset:
        """The data every snapshot is scored on, batched; read once from start to end."""
        raise NotImplementedError(f"{type(self).__name__} has to define eval_dataset(context)")

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Keras callbacks for training, made anew for each run; docs/callbacks.md tells when each hook runs."""
        return []

    def after_training(self, model: keras.Model, directory: Path) -> None:
        """Called once, with the trained model and the run's folder: plot, export, whatever a run shall leave."""
