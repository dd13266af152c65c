"""Whole runs, from spec to result.json, one after another in a launched group without Ray."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from orchestrator.results import RunResult
from orchestrator.runs.planned import Planned
from orchestrator.runs.resume import plan_resume
from orchestrator.runs.runner import Runner
from orchestrator.runs.watcher import NullWatcher, Watcher
from orchestrator.spec.run import RunSpec
from orchestrator.store.metrics import Metrics
from tests.integration.local_runs import JOBS, ObservedBackend, opened, settled


class Launched:
    """A launched group in which one run is made after another."""

    def __init__(self, **fields: Any) -> None:
        """`fields` are the spec's."""
        self.fields = {"directory": str(JOBS), **fields}
        spec = RunSpec.make(self.fields)
        self.backend = ObservedBackend()
        self._session = opened(spec, self.backend)
        self._group = self._session.__enter__().groups[spec.variant_name]
        self._group.launch()
        settled(self._group.coordinator.await_ready(time.monotonic() + 240, lambda _: None))

    def run(self, path: Path, watcher: Watcher | None = None, **changes: Any) -> RunResult:
        """One run in folder `path`; `changes` are to fields that the launched tasks need not know."""
        return self._train(Planned(RunSpec.make(self.fields | changes), path, path.name), watcher)

    def resume(self, path: Path, **changes: Any) -> tuple[RunResult, str]:
        """Resume the run in folder `path` to its end; also returns where it started from, in words."""
        planned, start = plan_resume(path, changes)
        return self._train(planned, None), start

    def _train(self, planned: Planned, watcher: Watcher | None) -> RunResult:
        self.backend.groups[-1].kept = {}
        runner = Runner(
            planned.spec,
            planned.path,
            planned.run_id,
            watcher or NullWatcher(),
            {},
            command_started=None,
            deadline=time.monotonic() + 240,
            resumed=planned.resumed,
        )
        return runner.train(self._group)

    def pid(self, task: str) -> int:
        """Pid of the task's process."""
        return self.backend.groups[-1].pid(task)

    def shutdown(self) -> None:
        self._session.__exit__()

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def rows(run: Path, query: str) -> list[tuple[Any, ...]]:
    """Query the run's metrics.db."""
    metrics = Metrics(run)
    try:
        return metrics.rows(query)
    finally:
        metrics.close()
