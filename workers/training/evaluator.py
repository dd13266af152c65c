"""The evaluator scores snapshots in a process of its own, so that training never waits for an evaluation."""

from __future__ import annotations

import time

from jobs.api import DataContext, Job
from workers.data.stream import checked, first_batch, without_tuner
from workers.errors import UnknownMetricError
from workers.messages import Assignment
from workers.model import state
from workers.model.logs import numbers
from workers.model.step import make_model
from workers.news import Evaluation, Stamp
from workers.snapshot import Snapshot


class Evaluator:
    """Holds the job's model, outside any strategy, and its evaluation data."""

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self._settings = assignment.settings
        self._target_metric = assignment.target_metric
        self._job = job

    def prepare(self) -> None:
        """Build the model and score its untrained weights once, which compiles it and shows which metrics it reports.

        Raises:
            UnknownMetricError: the target's metric is not among them.
            DataError: the evaluation dataset is empty or not batched.
        """
        import tensorflow as tf

        dataset = self._job.eval_dataset(DataContext(self._settings.batch_size))
        dataset = checked(dataset, "eval_dataset")
        dataset = dataset.cache() if self._settings.cache else dataset
        self._dataset = without_tuner(dataset.prefetch(tf.data.AUTOTUNE) if self._settings.prefetch else dataset)
        batch = first_batch(self._dataset, "eval_dataset")
        self._model = make_model(self._job, self._settings.seed, batch)
        names = self._evaluate()
        metric = self._target_metric
        if metric is not None and metric not in names:
            raise UnknownMetricError(
                f"target: this model's evaluation reports no {metric!r}; it reports {', '.join(sorted(names))}. "
                "Name one of these, or add the metric in compile(metrics=[...])."
            )

    def score(self, stamp: Stamp, snapshot: Snapshot) -> Evaluation:
        """Evaluate the weights of `snapshot` on the whole evaluation set."""
        started = time.monotonic()
        state.write(state.state_variables(self._model), snapshot.weights, "weights")
        metrics = self._evaluate()
        return Evaluation(stamp, metrics, time.monotonic() - started)

    def _evaluate(self) -> dict[str, float]:
        values = self._model.evaluate(self._dataset, return_dict=True, verbose=0)
        return {f"val_{name}": value for name, value in numbers(values).items()}
