"""The workload that every contender trains: model and data of a built-in job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

    from jobs.api import Job

WORKERS = 2


@dataclass(frozen=True)
class Workload:
    """A built-in job with its params and its budget."""

    job: str
    params: Mapping[str, Any]
    batch_size: int
    """Samples per batch and worker."""
    samples: int
    """Training samples, the same for all contenders; rounded down to whole batches of all workers."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def scaled(self, share: float) -> Workload:
        return Workload(self.job, self.params, self.batch_size, int(self.samples * share))


TINY_MLP = Workload("digits", {"hidden": 256}, batch_size=32, samples=128_000)
"""64-256-10 on 8x8 digits: a step computes for 0.1 ms, so overhead dominates."""

CNN = Workload("mnist-cnn", {"data": "synthetic"}, batch_size=64, samples=51_200)
"""Two convolutions and two dense layers on 28x28 images: a step computes for 10 ms."""

WAITING_INPUT = Workload("benchmarks.waiting_input:WaitingInput", {}, batch_size=32, samples=64_000)
"""Batches that take 5 ms of waiting each, for a model that needs less than one."""


@dataclass(frozen=True)
class Material:
    """The workload's job, loaded in a contender's process."""

    workload: Workload
    job: Job = field(repr=False)

    def dataset(self, shards: int, index: int) -> tf.data.Dataset:
        """Full batches of one worker's shard, repeated without end, in a pipeline tuned for `fit`."""
        import tensorflow as tf

        from jobs.api import DataContext

        batch = self.workload.batch_size
        data = self.job.train_dataset(DataContext(batch, num_shards=shards, shard_index=index))
        return data.repeat().rebatch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def load(values: Mapping[str, Any]) -> Material:
    """Load the job of a workload given as JSON. Its `import keras` gets what `sys.modules` has under that name."""
    from jobs.loading import load_job_class, validate_params

    workload = Workload(**values)
    job_class = load_job_class(workload.job, ".")
    return Material(workload, job_class(validate_params(job_class, workload.params)))
