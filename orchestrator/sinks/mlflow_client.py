"""A process that talks to an MLflow tracking server for the driver, which `orchestrator.sinks.mlflow` starts.

MLflow's client reads an answer to its end, however long that is, and its timeout starts over with every byte. Here that
costs a process with limits of memory and time. What the server answers is not trusted: redirects are not followed, and
files go nowhere but to the server itself or an object store.

It reads a JSON request from stdin, and writes a line of JSON: `{"problem": null}`, or why it could not do it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from orchestrator.results import RunResult
from orchestrator.sinks.summary import summary
from orchestrator.store.directory import LOGS, PLAN, RESULT, SPEC
from orchestrator.store.metrics import METRICS, Metrics
from orchestrator.store.versions import ENVIRONMENT
from workers.checkpoints import FINAL_MODEL

EXPERIMENT = "regatta"
MODEL = "model"
"""The folder of the trained model among a run's artifacts."""
POINTS = 1000
"""Largest number of points of the loss curve."""
_BATCH = 1000  # MLflow's limit of metrics per request
_LONGEST_PARAM = 6000
_LONGEST_NAME = 250
_NOT_IN_NAMES = re.compile(r"[^\w/.\- :]")


_MEMORY = 1 << 30
"""Bytes that answers, and what is made of them, may take beside what the imported packages do."""
_FILES = (SPEC, PLAN, ENVIRONMENT, RESULT, METRICS)
_STORES = ("mlflow-artifacts", "s3", "gs", "wasbs", "abfss", "dbfs", "hdfs", "oss", "r2", "b2")
"""Where a server may have a run's files sent; not to folders of this host, or to other hosts of its choice."""


class Refused(Exception):  # noqa: N818 - an answer of the server's
    """The server asks for something that is not done. The message says what."""


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    signal.alarm(math.ceil(request["seconds"]))  # the driver may have ended meanwhile
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # MLflow prints where a run can be viewed
    try:
        client = connect(request["uri"])
        if "run" in request:
            result = RunResult.model_validate(request["result"])
            _Logged(*client, Path(request["run"]), request["began"]).log(result, request["spec"])
        problem = None
    except MemoryError:
        problem = f"its answers take more than {_MEMORY >> 30} GiB of memory"
    except Exception as error:  # noqa: BLE001 - each of MLflow's stores raises errors of its own
        problem = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
    answer.write(json.dumps({"problem": problem}))
    answer.close()
    os._exit(0)  # without waiting for what MLflow's threads still wait for


def connect(uri: str) -> tuple[Any, str]:
    """A client for the tracking server at `uri`, and the id of our experiment there."""
    # By default, MLflow retries for two minutes if there is no server.
    for name, value in {
        "DISABLE_TELEMETRY": "true",
        "HTTP_REQUEST_MAX_RETRIES": "1",
        "HTTP_REQUEST_TIMEOUT": "20",
        "HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "ALLOW_HTTP_REDIRECTS": "false",
    }.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise Refused("MLflow is not installed: pip install 'regatta[mlflow]'") from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs every table that it creates
    client = MlflowClient(tracking_uri=uri)
    _limit_memory()
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is not None and known.lifecycle_stage != "active":
        raise Refused(f"its experiment {EXPERIMENT!r} is deleted; restore it, or delete it permanently")
    return client, known.experiment_id if known else client.create_experiment(EXPERIMENT)


def _limit_memory() -> None:
    """Allow `_MEMORY` more than now; only in a process of its own, as `main` is."""
    if __name__ == "__main__":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, now + _MEMORY))


class _Logged:
    """One run, as it is logged."""

    def __init__(self, client: Any, experiment: str, run: Path, began: float) -> None:
        self._client, self._experiment, self._run, self._began = client, experiment, run, began
        self._names: dict[str, str] = {}
        """What MLflow calls each metric and param; a name that it would not accept must not become that of another."""

    def log(self, result: RunResult, spec: Mapping[str, Any]) -> None:
        tags = {"regatta.job": result.job, "regatta.variant": result.variant_name}
        tags["regatta.status"] = f"{result.status}: {result.stop_reason}"
        begun = int(self._began * 1000)
        info = self._client.create_run(self._experiment, begun, tags, run_name=result.run_id).info
        self._log_params(info.run_id, spec)
        self._log_metrics(info.run_id, result)
        self._log_files(info.run_id, str(info.artifact_uri))
        self._client.set_terminated(info.run_id, "FAILED" if result.status == "failed" else "FINISHED")

    def _log_params(self, run: str, spec: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(self._name(name), value[:_LONGEST_PARAM]) for name, value in _flat(spec)]
        self._client.log_batch(run, params=params)

    def _log_metrics(self, run: str, result: RunResult) -> None:
        from mlflow.entities import Metric

        # MLflow's timestamp is the run's clock, and its step is the number of samples, as for TensorBoard.
        rows = [
            Metric(self._name(name), value, int((self._began + clock) * 1000), int(samples))
            for name, value, clock, samples in _history(self._run, result)
            if math.isfinite(value)
        ]
        for first in range(0, len(rows), _BATCH):
            self._client.log_batch(run, metrics=rows[first : first + _BATCH])

    def _log_files(self, run: str, destination: str) -> None:
        scheme = destination.partition(":")[0] if ":" in destination else "file"
        if self._client.tracking_uri.startswith(("http:", "https:")) and scheme not in _STORES:
            raise Refused(f"it wants the run's files to be written to {destination[:200]}, which it may not choose")
        for name in _FILES:
            if (self._run / name).is_file():
                self._client.log_artifact(run, str(self._run / name))
        if any((self._run / LOGS).iterdir()):
            self._client.log_artifacts(run, str(self._run / LOGS), LOGS)
        if (self._run / FINAL_MODEL).is_file():
            self._log_model(run)

    def _log_model(self, run: str) -> None:
        """Log the trained model for `mlflow.keras.load_model`.

        It is written as `mlflow.keras.save_model` does, which would have to load the model, and so to run a job's code.
        """
        self._client.log_artifact(run, str(self._run / FINAL_MODEL), f"{MODEL}/data")
        flavor = {"data": "data", "keras_version": version("keras"), "keras_backend": "tensorflow"}
        document = {
            "artifact_path": MODEL,
            "flavors": {"keras": flavor | {"save_exported_model": False}},
            "mlflow_version": version("mlflow-skinny"),
            "run_id": run,
        }
        self._client.log_text(run, yaml.safe_dump(document), f"{MODEL}/MLmodel")

    def _name(self, name: str) -> str:
        if name not in self._names:
            accepted, taken = _accepted(name), set(self._names.values())
            numbered = (f"{accepted[: _LONGEST_NAME - 8]}_{number}" for number in count(2))
            self._names[name] = next(one for one in chain([accepted], numbered) if one not in taken)
        return self._names[name]


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
    for name, known in summary(result).items():
        yield name, known, clock, samples


def _accepted(name: str) -> str:
    """`name` as MLflow accepts it; otherwise it would refuse the whole run for one metric called `top-5 (%)`."""
    first, *parts = _NOT_IN_NAMES.sub("_", name).split("/")
    return "/".join([first, *(part if part.strip(".") else "_" for part in parts)])[:_LONGEST_NAME].rstrip("/")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, str(value)


if __name__ == "__main__":
    main()
