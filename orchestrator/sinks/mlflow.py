"""Logs finished runs to an MLflow tracking server: params, metrics with their history, and the run's files.

Needs the extra `mlflow`. Everything is sent after a run has ended, so that training never waits for the server; whether
it works is asked before anything is started. A process of its own talks to it (`orchestrator.sinks.mlflow_client`), so
that no answer costs this one more than some seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.results import Finding, RunResult
from orchestrator.spec.run import RunSpec
from workers.news import ReplicaStatus
from workers.session import python_environment

PATIENCE_SECONDS = 60.0
SLOWEST = 100_000
"""Bytes per second of the run's folder that the server has to take after the first `PATIENCE_SECONDS`."""
_CLIENT = "orchestrator.sinks.mlflow_client"
_given_up: set[str] = set()
"""Servers that took too long in this command, which would delay each further run of a comparison."""


class MLflowError(Exception):
    """A run could not be logged. The message says why."""


class MLflow:
    """Logs one run to a tracking server."""

    def __init__(self, spec: RunSpec, run: Path) -> None:
        if spec.mlflow is None:
            raise UsageError("mlflow: no tracking URI is given")
        self._uri, self._spec, self._run = spec.mlflow, spec, run
        self._began = time.time()

    def observe(self, status: ReplicaStatus) -> None:
        """Does nothing: `close` sends what is in the store."""

    def add_finding(self, finding: Finding) -> None: ...

    def close(self, result: RunResult) -> None:
        if self._uri in _given_up:
            return
        size = sum(path.stat().st_size for path in self._run.rglob("*") if path.is_file())
        spec = self._spec.resolved()
        request = {"run": str(self._run), "began": self._began, "result": result.to_json(), "spec": spec}
        if (problem := _ask(self._uri, PATIENCE_SECONDS + size / SLOWEST, request)) is not None:
            raise MLflowError(problem)


def check(uri: str) -> None:
    """Ask the tracking server at `uri` for our experiment.

    Raises:
        UsageError: MLflow is not installed, or there is no such server.
    """
    _given_up.discard(uri)
    if (problem := _ask(uri, PATIENCE_SECONDS, {})) is not None:
        raise UsageError(f"mlflow: {uri!r} does not work as a tracking server: {problem}")


def _ask(uri: str, seconds: float, request: Mapping[str, Any]) -> str | None:
    """Have a process do it; returns what went wrong."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _CLIENT],
            input=json.dumps({"uri": uri, "seconds": seconds, **request}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where MLflow may quote whole answers
            text=True,
            errors="replace",
            timeout=seconds,
            env=python_environment(),
            check=False,
        )
        answer = json.loads(done.stdout)
        return None if answer["problem"] is None else str(answer["problem"])
    except subprocess.TimeoutExpired:
        _given_up.add(uri)
        return f"it did not do what it was asked to within {seconds:.0f} s, and is asked for nothing more"
    except (ValueError, TypeError, KeyError):  # no answer: the kernel ended it, or its memory ran out
        return f"the process that talked to it ended (exit code {done.returncode})"
