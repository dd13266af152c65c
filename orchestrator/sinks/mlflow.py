"""Logs finished runs to an MLflow tracking server: params, metrics with their history, and the run's files.

Needs the extra `mlflow`. Everything is sent after a run has ended, so that training never waits for the server; the
connection is checked before anything is started.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.results import Finding, RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import PLAN, RESULT, SPEC
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.versions import ENVIRONMENT
from workers.news import ReplicaStatus

EXPERIMENT = "regatta"
POINTS = 1000
"""Largest number of points of the loss curve."""
_BATCH = 1000  # MLflow's limit of metrics per request
_LONGEST_PARAM = 6000
_LONGEST_NAME = 250
_NOT_IN_NAMES = re.compile(r"[^\w/.\- :]")


class MLflow:
    """Logs one run to a tracking server."""

    def __init__(self, spec: RunSpec, run_id: str, run: Path) -> None:
        """Raises UsageError if MLflow is not installed, or the server does not answer."""
        if spec.mlflow is None:
            raise UsageError("mlflow: no tracking URI is given")
        self._spec, self._run_id, self._run = spec, run_id, run
        self._began = time.time()
        self._client, self._experiment = connect(spec.mlflow)

    def observe(self, status: ReplicaStatus) -> None:
        """Does nothing: `close` reads everything from the store."""

    def add_finding(self, finding: Finding) -> None: ...

    def close(self, result: RunResult) -> None:
        tags = {"regatta.job": result.job, "regatta.variant": result.variant_name}
        tags["regatta.status"] = f"{result.status}: {result.stop_reason}"
        begun = int(self._began * 1000)
        run = self._client.create_run(self._experiment, begun, tags, run_name=self._run_id).info.run_id
        self._log_params(run)
        self._log_metrics(run, result)
        for name in (SPEC, PLAN, ENVIRONMENT, RESULT, METRICS):
            if (self._run / name).is_file():
                self._client.log_artifact(run, str(self._run / name))
        if any((self._run / "logs").iterdir()):
            self._client.log_artifacts(run, str(self._run / "logs"), "logs")
        self._client.set_terminated(run, "FAILED" if result.status == "failed" else "FINISHED")

    def _log_params(self, run: str) -> None:
        from mlflow.entities import Param

        values = _flat(self._spec.resolved())
        self._client.log_batch(run, params=[Param(_name(name), value[:_LONGEST_PARAM]) for name, value in values])

    def _log_metrics(self, run: str, result: RunResult) -> None:
        from mlflow.entities import Metric

        # MLflow's timestamp is the run's clock, and its step is the number of samples, as for TensorBoard.
        rows = [
            Metric(_name(name), value, int((self._began + clock) * 1000), int(samples))
            for name, value, clock, samples in _history(self._run, result)
            if math.isfinite(value)
        ]
        for first in range(0, len(rows), _BATCH):
            self._client.log_batch(run, metrics=rows[first : first + _BATCH])


def connect(uri: str) -> tuple[Any, str]:
    """A client for the tracking server at `uri`, and the id of our experiment there.

    Raises:
        UsageError: MLflow is not installed, or there is no such server.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UsageError("mlflow: MLflow is not installed: pip install 'regatta[mlflow]'") from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs every table that it creates
    # By default, MLflow retries for two minutes if there is no server.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is not None and known.lifecycle_stage != "active":
            raise ValueError(f"its experiment {EXPERIMENT!r} is deleted; restore it, or delete it permanently")
        return client, known.experiment_id if known else client.create_experiment(EXPERIMENT)
    except Exception as error:  # noqa: BLE001 - each of MLflow's stores raises errors of its own
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(f"mlflow: {uri!r} does not work as a tracking server: {first[:300]}") from None


def _history(run: Path, result: RunResult) -> Iterator[tuple[str, float, float, float]]:
    """Name, value, the run's clock and samples of every metric to log."""
    clock, samples = result.seconds.spent or 0.0, result.samples or 0
    per_step = result.samples / result.steps if result.samples and result.steps else 1.0
    metrics = Metrics(run)
    try:
        steps = metrics.column("SELECT MAX(step) FROM steps")[0] or 0
        width = max(1, math.ceil(steps / POINTS))
        for loss, at, step in metrics.rows(
            "SELECT AVG(loss), AVG(clock), MAX(step) FROM "
            "(SELECT step, clock, loss, MAX(attempt) FROM steps GROUP BY step) "
            "WHERE loss IS NOT NULL GROUP BY (step - 1) / ?",
            width,
        ):
            yield "train/loss", loss, at, step * per_step
        for scored, at, taken in metrics.rows("SELECT metrics, clock, samples FROM evaluations ORDER BY step"):
            for name, value in json.loads(scored).items():
                yield f"evaluation/{name}", value, at, taken
    finally:
        metrics.close()
    summary: dict[str, float | None] = {
        "seconds/elapsed": result.seconds.elapsed,
        "seconds/training": result.seconds.training,
        "seconds/to_first_step": result.seconds.to_first_step,
        "seconds/to_target": result.target.seconds if result.target else None,
        "throughput/samples_per_s": result.throughput.samples_per_s,
        "staleness/mean": result.staleness.mean if result.staleness else None,
        "stability/findings": float(len(result.stability.findings)),
        "stability/jitter": result.stability.jitter,
        "cost": result.cost,
        **{f"final/{name}": value for name, value in result.final.items()},
        **{f"cpu_percent/{task.replace(':', '_')}": value for task, value in result.utilization.cpu_percent.items()},
    }
    for name, known in summary.items():
        if known is not None:
            yield name, known, clock, samples


def _name(name: str) -> str:
    """`name` as MLflow accepts it; otherwise it would refuse the whole run for one metric called `top-5 (%)`."""
    first, *parts = _NOT_IN_NAMES.sub("_", name).split("/")
    return "/".join([first, *(part if part.strip(".") else "_" for part in parts)])[:_LONGEST_NAME].rstrip("/")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, str(value)
