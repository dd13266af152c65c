"""The evaluator scores snapshots in a process of its own, so that training never waits for an evaluation."""

from __future__ import annotations

import difflib
import time
from typing import TYPE_CHECKING

from jobs.api import Job
from workers.data.evaluation import evaluation_data
from workers.data.stream import first_batch, without_tuner
from workers.errors import DataError, UnknownMetricError
from workers.messages import Assignment
from workers.model import state
from workers.model.logs import reported
from workers.model.scores import scores
from workers.model.step import make_model
from workers.news import Evaluation, Stamp
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_SHARE_OF_LAUNCH = 0.7
"""Share of the launch's seconds that the first evaluation may take; others go by before it begins."""


class Evaluator:
    """Holds the job's model, outside any strategy, and its evaluation data."""

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self._settings = assignment.settings
        self._target_metric = assignment.target_metric
        self._job = job
        self._dataset: tf.data.Dataset | None = None
        """None if the job has no evaluation data: then snapshots get no scores."""
        ready_within = assignment.ready_within
        self._first_seconds = None if ready_within is None else _SHARE_OF_LAUNCH * ready_within

    def prepare(self) -> None:
        """Build the model and score its untrained weights once, which compiles it and shows which metrics it reports.

        Raises:
            UnknownMetricError: the target's metric is not among them.
            DataError: the evaluation dataset is empty, not batched, or does not end.
        """
        import tensorflow as tf

        dataset = evaluation_data(self._job, self._settings)
        metric = self._target_metric
        if dataset is None:
            if metric is not None:
                raise UnknownMetricError(f"target: there is no {metric}, because fit has no validation_data.")
            return
        dataset = dataset.cache() if self._settings.cache else dataset
        self._dataset = without_tuner(dataset.prefetch(tf.data.AUTOTUNE) if self._settings.prefetch else dataset)
        batch = first_batch(self._dataset, "eval_dataset")
        self._job.begin_run(self._settings.seed)
        self._model = make_model(self._job, self._settings.seed, batch)
        names = self._evaluate(within=self._first_seconds)
        if metric is not None and metric not in names:
            close = difflib.get_close_matches(metric, names, 1)
            raise UnknownMetricError(
                f"target: this model's evaluation reports no {metric!r}; it reports {', '.join(sorted(names))}. "
                + (f"Did you mean {close[0]}? " if close else "")
                + "Name one of these, or add the metric in compile(metrics=[...])."
            )

    def score(self, stamp: Stamp, snapshot: Snapshot) -> Evaluation:
        """Evaluate the weights of `snapshot` on the whole evaluation set."""
        started = time.monotonic()
        if self._dataset is None:
            return Evaluation(stamp, {}, 0.0)
        state.write(state.state_variables(self._model), snapshot.weights, "weights")
        metrics = self._evaluate()
        return Evaluation(stamp, metrics, time.monotonic() - started)

    def _evaluate(self, within: float | None = None) -> dict[str, float]:
        callbacks = [] if within is None else [_deadline(within)]
        found = scores(self._model, self._dataset, callbacks)
        return reported({f"val_{name}": value for name, value in found.items()})


def _deadline(seconds: float) -> keras.callbacks.Callback:
    """A callback that ends an evaluation with a DataError when it has taken `seconds`.

    tf.data does not know of a generator whether it ends. If not, the first evaluation would last until the launch
    has failed, which says nothing of data.
    """
    import keras

    end = time.monotonic() + seconds

    class Deadline(keras.callbacks.Callback):  # type: ignore[misc]
        def on_test_batch_end(self, batch: int, logs: object = None) -> None:
            if time.monotonic() > end:
                raise DataError(
                    f"eval_dataset has not ended after {batch + 1} batches in {seconds:.0f} s. If it never ends, give "
                    "--eval-steps N to evaluate on N batches; if it is only large, a larger --launch-timeout."
                )

    return Deadline()
