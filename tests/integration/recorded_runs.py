"""Whole runs, from spec to result.json, in a launched group without Ray."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.cluster.worker_group import LocalGroup
from orchestrator.control.coordinator import Coordinator
from orchestrator.plan import topology
from orchestrator.plan.topology import training_plans
from orchestrator.results import RunResult
from orchestrator.runs.assignments import assigner
from orchestrator.runs.resume import take_up
from orchestrator.runs.runner import Runner, Watcher
from orchestrator.runs.session import Planned, Silent
from orchestrator.spec.run import make_run_spec
from orchestrator.store.metrics import Metrics
from tests.integration.local_runs import JOBS, SESSION, KeepingGroup


class Launched:
    """A launched group in which one run is made after another."""

    def __init__(self, **fields: Any) -> None:
        """`fields` are the spec's."""
        self.fields = {"directory": str(JOBS), **fields}
        spec = make_run_spec(self.fields)
        plans = training_plans(spec)
        evaluator_plan = topology.plan_evaluator(1)
        self.group = KeepingGroup(plans, SESSION)
        self.evaluator = LocalGroup([evaluator_plan], SESSION)
        self.coordinator = Coordinator(
            self.group,
            self.evaluator,
            leader=topology.leader(spec.mode),
            trainers=topology.trainers(spec.mode, spec.workers),
            keeps_snapshots=True,
        )
        self.evaluator.launch(assigner(spec, (evaluator_plan,)))
        self.coordinator.launch(assigner(spec, plans))
        self.coordinator.await_ready(time.monotonic() + 90, lambda _: None)

    def run(self, path: Path, watcher: Watcher | None = None, **changes: Any) -> RunResult:
        """One run in folder `path`; `changes` are to fields that the launched tasks need not know."""
        return self._train(Planned(make_run_spec(self.fields | changes), path, path.name), watcher)

    def resume(self, path: Path, **changes: Any) -> tuple[RunResult, str]:
        """The run in folder `path` to its end; and from where, in words."""
        planned, whence = take_up(path, changes)
        return self._train(planned, None), whence

    def _train(self, planned: Planned, watcher: Watcher | None) -> RunResult:
        self.group.kept = {}
        runner = Runner(
            planned.spec,
            planned.path,
            planned.run_id,
            watcher or Silent(),
            {},
            command_started=None,
            deadline=time.monotonic() + 120,
            resumed=planned.resumed,
        )
        crew: Any = SimpleNamespace(
            coordinator=self.coordinator, attempt=1, workers=planned.spec.workers, can_grow=lambda: False
        )
        return runner.train(crew)

    def pid(self, task: str) -> int:
        """Of the task's process."""
        return next(replica._pid() or 0 for name, replica in self.group._replicas.items() if str(name) == task)

    def shutdown(self) -> None:
        self.group.shutdown()
        self.evaluator.shutdown()

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def rows(run: Path, query: str) -> list[tuple[Any, ...]]:
    """From the run's metrics.db."""
    metrics = Metrics(run)
    try:
        return metrics.rows(query)
    finally:
        metrics.close()
