"""The Python API: `run`, `compare`, `plan`. The command line calls these and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.compare import assemble, schedule
from orchestrator.compare_spec import CompareSpec
from orchestrator.execution import Execution, Planned
from orchestrator.planning import plan_where
from orchestrator.report import write_reports
from orchestrator.result import Comparison, RunResult
from orchestrator.runner import Watcher
from orchestrator.spec import RunSpec
from orchestrator.store import claim_directory, new_id, write_comparison, write_comparison_spec
from orchestrator.target import complete_comparison, complete_run

RUNS = Path("runs")


def plan(spec: RunSpec) -> dict[str, Any]:
    """Tasks, hosts, resources, TF_CONFIG of each, and budget of a run; starts nothing."""
    return plan_where(complete_run(spec))


def run(spec: RunSpec, watcher: Watcher | None = None, *, resolved: bool = False) -> RunResult:
    """Train one run to its end and return its result, which is also in its folder.

    Fields that `spec` does not set take the job's own defaults, and its params are validated, unless it is
    `resolved` already (`orchestrator.target.resolve_run`).

    Raises:
        UsageError, SpecError: spec, job or folder are wrong (the run may have started, if only the job's code
            could show it).
        JobError: the job's own code raised.
        ClusterError: Ray or a machine failed.
    """
    spec = spec if resolved else complete_run(spec)
    path = _folder(spec, spec.label)
    planned = Planned(spec, path, spec.run_id or path.name, claimed=True)

    def only() -> Any:
        results.append((yield planned))

    results: list[RunResult] = []
    Execution(spec.timeout, watcher).run([planned], only())
    return results[0]


def compare(spec: CompareSpec, watcher: Watcher | None = None, *, resolved: bool = False) -> Comparison:
    """Train every variant and seed, and judge; as `run` otherwise. Finished runs stay in the folder."""
    spec = spec if resolved else complete_comparison(spec)
    path = _folder(spec.run, "compare")
    write_comparison_spec(path, spec.model_dump(mode="json"))
    results: list[RunResult] = []
    execution = Execution(spec.run.timeout, watcher)
    execution.run(*schedule(spec, path, results))
    comparison = assemble(path.name, spec, results, interleaved=execution.interleaved)
    write_comparison(path, comparison)
    write_reports(path)
    return comparison


def _folder(spec: RunSpec, kind: str) -> Path:
    name = spec.run_id or new_id(f"{Path(spec.job.partition(':')[0]).stem}-{kind}")
    return claim_directory(Path(spec.out) if spec.out else RUNS / name)
