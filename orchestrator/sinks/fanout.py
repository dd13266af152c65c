"""Sends a run's news to sinks besides its store: TensorBoard, Ray's metrics, MLflow, Weights & Biases.

A sink that fails is dropped, and the error is stored among the run's events; it never affects training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from orchestrator.results import Finding, RunResult
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RunStore
from orchestrator.text import plain
from workers.news import ReplicaStatus

_LOG = logging.getLogger("regatta")


class Sink(Protocol):
    """Receives a run's news. All calls are made in the driver's thread, so none may take long."""

    def observe(self, status: ReplicaStatus) -> None:
        """Process one task's status from a poll."""

    def add_finding(self, finding: Finding) -> None: ...

    def close(self, result: RunResult) -> None:
        """The run has ended, and its store is complete."""


class Sinks:
    """All sinks of one run."""

    def __init__(self, sinks: Sequence[Sink], store: RunStore) -> None:
        self._sinks = list(sinks)
        self._store = store

    def observe(self, status: ReplicaStatus) -> None:
        self._each(lambda sink: sink.observe(status))

    def add_finding(self, finding: Finding) -> None:
        self._each(lambda sink: sink.add_finding(finding))

    def close(self, result: RunResult) -> None:
        for sink in self._sinks:
            try:
                sink.close(result)
            except Exception as error:  # noqa: BLE001 - see above; the result is written, and the store closed
                _LOG.warning("%s: %s failed: %s", result.run_id, _name(sink), _words(error))

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in tuple(self._sinks):
            try:
                call(sink)
            except Exception as error:  # noqa: BLE001 - see above
                self._sinks.remove(sink)
                self._store.event(0, "sink_failed", sink=_name(sink), error=_words(error))
                _LOG.warning("%s failed and was dropped: %s", _name(sink), _words(error))


def _name(sink: Sink) -> str:
    return type(sink).__name__


def _words(error: Exception) -> str:
    """One line on an error, which may quote a server."""
    return plain(f"{type(error).__name__}: {error}", 500)


@contextmanager
def sinks_ready(spec: RunSpec) -> Iterator[None]:
    """Check before anything is started that MLflow works, and keep what the runs of a command share.

    Raises:
        UsageError: it does not.
    """
    if spec.mlflow is not None:
        from orchestrator.sinks.mlflow import check

        check(spec.mlflow)
    if spec.wandb is None:
        yield
        return
    from orchestrator.sinks.wandb import client

    with client(spec):
        yield


def open_sinks(spec: RunSpec, run_id: str, path: Path) -> list[Sink]:
    """The sinks that a run's spec configures."""
    sinks: list[Sink] = []
    if spec.monitor:
        from orchestrator.sinks.ray_metrics import RayMetrics
        from orchestrator.sinks.tensorboard import TensorBoard

        sinks += [TensorBoard(spec, path), RayMetrics(spec, run_id)]
    if spec.mlflow is not None:
        from orchestrator.sinks.mlflow import MLflow

        sinks.append(MLflow(spec, path))
    if spec.wandb is not None:
        from orchestrator.sinks.wandb import WeightsAndBiases

        sinks.append(WeightsAndBiases(spec, path))
    return sinks
