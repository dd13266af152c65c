"""The job's evaluation data, which have to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.api import DataContext, Job
from workers.data.stream import checked
from workers.errors import DataError
from workers.settings import ReplicaSettings

if TYPE_CHECKING:
    import tensorflow as tf


def evaluation_data(job: Job, settings: ReplicaSettings) -> tf.data.Dataset | None:
    """The job's evaluation data, which end: after `settings.eval_steps` batches if that is set. None if it has none.

    Raises:
        DataError: they do not end, or are not batched.
    """
    import tensorflow as tf

    found = job.eval_dataset(DataContext(settings.batch_size))
    if found is None and job.may_lack_evaluation_data:
        return None
    dataset = checked(found, "eval_dataset")
    if settings.eval_steps is not None:
        return _counted_by_data(dataset.take(settings.eval_steps))
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            "eval_dataset never ends, so it cannot be evaluated on: leave out its .repeat(), or give --eval-steps N "
            "(`validation_steps` in Keras) to evaluate on N batches."
        )
    return _counted_by_data(dataset)


def _counted_by_data(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset with a batch size that the graph does not know, unless the number of batches is known.

    Otherwise `evaluate` finds the end by failing to get another batch. Metrics add a batch size that is a constant
    to their count without waiting for the batch, so the missing one was often counted as well: the loss of three
    batches came out as 0.7293 instead of 0.9724 (Keras 3.15.1).
    """
    import tensorflow as tf

    if dataset.cardinality() != tf.data.UNKNOWN_CARDINALITY:
        return dataset

    def relaxed(part: Any) -> Any:
        if not isinstance(part, tf.Tensor):
            return part  # sparse or ragged, whose size is data already
        return tf.compat.v1.placeholder_with_default(part, [None, *part.shape[1:]])

    def relax(*parts: Any) -> Any:
        made = tf.nest.map_structure(relaxed, parts)
        return made if len(made) > 1 else made[0]

    return dataset.map(relax)
