"""The Python API: `run`, `compare`, `resume`, `plan`. The command line calls these and prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.planning import plan_where
from orchestrator.comparison.resume import is_comparison, remaining, stored_comparison
from orchestrator.comparison.schedule import assemble, schedule
from orchestrator.control.preemption import Preempted
from orchestrator.report import write_reports
from orchestrator.results import Comparison, RunResult
from orchestrator.runs.checkpoints import check_destination
from orchestrator.runs.execution import Execution, Planned, Schedule
from orchestrator.runs.resume import take_up
from orchestrator.runs.runner import Watcher
from orchestrator.spec import secrets, trust
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.resolve import complete_comparison, complete_run
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RESULT, claim_directory, new_id, write_comparison, write_comparison_spec

RUNS = Path("runs")


def plan(spec: RunSpec) -> dict[str, Any]:
    """Tasks, hosts, resources, TF_CONFIG of each, and budget of a run; starts nothing."""
    return plan_where(complete_run(spec))


def run(spec: RunSpec, watcher: Watcher | None = None, *, resolved: bool = False) -> RunResult:
    """Train one run to its end and return its result, which is also in its folder.

    Fields that `spec` does not set take the job's own defaults, and its params are validated, unless it is
    `resolved` already (`orchestrator.spec.resolve.resolve_run`).

    Raises:
        UsageError, SpecError: spec, job or folder are wrong (the run may have started, if only the job's code
            could show it).
        JobError: the job's own code raised.
        ClusterError: Ray or a machine failed.
    """
    spec = spec if resolved else complete_run(spec)
    secrets.values(spec.env_secrets)  # which have to be there before anything is
    trust.remember(spec)
    path = _folder(spec, spec.label)
    run_id = spec.run_id or path.name
    check_destination(spec, run_id, path)
    return _train(Planned(spec, path, run_id, claimed=True), watcher)


def _train(planned: Planned, watcher: Watcher | None) -> RunResult:
    def only() -> Any:
        results.append((yield planned))

    results: list[RunResult] = []
    Execution(planned.spec.timeout, watcher).run([planned], only())
    return results[0]


def resume(
    path: Path,
    changes: Mapping[str, Any] | None = None,
    watcher: Watcher | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> RunResult | Comparison:
    """Take up the run, or the comparison, in folder `path` again; `changes` are to fields of its spec.

    `tell` hears where it goes on.

    Raises:
        UsageError: there is nothing to resume, its driver is alive, or no checkpoint of it can be trusted; and as
            `run` does.
    """
    return resumed(path, changes or {}, tell)(watcher)


def resumed(
    path: Path, changes: Mapping[str, Any], tell: Callable[[str], None]
) -> Callable[[Watcher | None], RunResult | Comparison]:
    """The part of `resume` that starts nothing, and the rest of it as a function."""
    if is_comparison(path):
        spec = stored_comparison(path, changes)
        results: list[RunResult] = []
        firsts, rest = remaining(spec, path, results, tell)
        return lambda watcher: _compare(spec, path, firsts, rest, results, watcher)
    planned, whence = take_up(path, changes)
    secrets.values(planned.spec.env_secrets)
    tell(f"{planned.run_id} goes on {whence}.")

    def train(watcher: Watcher | None) -> RunResult:
        (path / RESULT).unlink(missing_ok=True)
        return _train(planned, watcher)

    return train


def compare(spec: CompareSpec, watcher: Watcher | None = None, *, resolved: bool = False) -> Comparison:
    """Train every variant and seed, and judge; as `run` otherwise. Finished runs stay in the folder."""
    spec = spec if resolved else complete_comparison(spec)
    for name in spec.variants:
        secrets.values(spec.variant(name, spec.seeds[0]).env_secrets)
    trust.remember(spec.run)
    path = _folder(spec.run, "compare")
    write_comparison_spec(path, spec.model_dump(mode="json"))
    results: list[RunResult] = []
    return _compare(spec, path, *schedule(spec, path, results), results, watcher)


def _compare(
    spec: CompareSpec,
    path: Path,
    firsts: Sequence[Planned],
    runs: Schedule,
    results: Sequence[RunResult],
    watcher: Watcher | None,
) -> Comparison:
    execution = Execution(spec.run.timeout, watcher)
    if firsts:  # of a comparison that is resumed, all runs may be done
        execution.run(firsts, runs)
    else:
        list(runs)
    if any(result.status == "preempted" for result in results):
        raise Preempted
    comparison = assemble(path.name, spec, results)
    write_comparison(path, comparison)
    write_reports(path)
    return comparison


def _folder(spec: RunSpec, kind: str) -> Path:
    name = spec.run_id or new_id(f"{Path(spec.job.partition(':')[0]).stem}-{kind}")
    return claim_directory(Path(spec.out) if spec.out else RUNS / name)
