"""The Python API: `run`, `compare`, `sweep`, `resume`, `plan`. The command line calls these and prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.cluster.planning import plan_where
from orchestrator.comparison.resume import remaining_runs, stored_comparison_spec
from orchestrator.comparison.schedule import Tried, assemble, schedule
from orchestrator.control.signals import Preempted
from orchestrator.report import write_reports
from orchestrator.results import Comparison, RunResult, Sweep
from orchestrator.runs.checkpoints import check_destination
from orchestrator.runs.execution import Execution, Schedule, check_stopped
from orchestrator.runs.planned import Planned
from orchestrator.runs.resume import plan_resume
from orchestrator.runs.watcher import Watcher
from orchestrator.spec import secrets, trust
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.resolve import complete_comparison, complete_run
from orchestrator.spec.run import RunSpec
from orchestrator.spec.sweep import SweepSpec
from orchestrator.store.directory import (
    RESULT,
    new_id,
    write_comparison,
    write_comparison_spec,
    write_sweep,
    write_sweep_spec,
)
from orchestrator.store.folders import RUNS, is_comparison, is_sweep
from orchestrator.store.locks import claim_directory
from orchestrator.sweep.plan import stored_sweep_spec
from orchestrator.sweep.search import Search
from orchestrator.sweep.study import check_installed


def plan(spec: RunSpec) -> dict[str, Any]:
    """The plan of a run: its tasks with hosts, resources and TF_CONFIG, and its budget. Starts nothing."""
    return plan_where(complete_run(spec))


def run(spec: RunSpec, watcher: Watcher | None = None, *, resolved: bool = False) -> RunResult:
    """Train one run and return its result, which is also stored in its folder.

    Fields that are not set take the job's defaults, and params are validated, unless the spec is already `resolved`
    (`orchestrator.spec.resolve.resolve_run`).

    Raises:
        UsageError, SpecError: the spec, job or folder is wrong. The run may have started, if only running the job's
            code could show it.
        JobError: the job's code raised.
        ClusterError: Ray or a machine failed.
    """
    spec = spec if resolved else complete_run(spec)
    secrets.values(spec.env_secrets)  # raises before anything is started if one is missing
    trust.remember(spec)
    path = _folder(spec, spec.label)
    run_id = spec.run_id or path.name
    check_destination(spec, run_id, path)
    return _train(Planned(spec, path, run_id, claimed=True), watcher)


def _train(planned: Planned, watcher: Watcher | None) -> RunResult:
    def schedule_one() -> Schedule:
        results.append((yield planned))

    results: list[RunResult] = []
    with _resumable(planned.path):
        Execution(planned.spec.timeout, watcher).run([planned], schedule_one())
    return results[0]


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Inside, what ends the command at once gets a note that says how to continue."""
    try:
        yield
    except (KeyboardInterrupt, Preempted) as ending:
        ending.add_note(f"`regatta resume {folder}` continues it.")
        raise


def resume(
    path: Path,
    changes: Mapping[str, Any] | None = None,
    watcher: Watcher | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> RunResult | Comparison | Sweep:
    """Continue the run, the comparison or the sweep in folder `path`; `changes` replace fields of its spec.

    `tell` is called with a line that says where each run continues.

    Raises:
        UsageError: there is nothing to resume, the driver is still running, or no checkpoint can be trusted.
            Other errors as for `run`.
    """
    return prepare_resume(path, changes or {}, tell)(watcher)


def prepare_resume(
    path: Path, changes: Mapping[str, Any], tell: Callable[[str], None]
) -> Callable[[Watcher | None], RunResult | Comparison | Sweep]:
    """Do the part of `resume` that starts nothing; returns a function that does the rest."""
    if is_sweep(path):
        sweep_spec = stored_sweep_spec(path, changes)
        trust.remember(sweep_spec.run)
        return prepare_sweep(sweep_spec, path)
    if is_comparison(path):
        spec = stored_comparison_spec(path, changes)
        trust.remember(spec.run)
        results, tried = list[RunResult](), Tried()
        first_runs, rest = remaining_runs(spec, path, results, tell, tried)
        return lambda watcher: _compare(spec, path, first_runs, rest, (results, tried), watcher)
    planned, start = plan_resume(path, changes)
    secrets.values(planned.spec.env_secrets)
    trust.remember(planned.spec)
    tell(f"{planned.run_id} continues {start}.")

    def train(watcher: Watcher | None) -> RunResult:
        (path / RESULT).unlink(missing_ok=True)
        return _train(planned, watcher)

    return train


def compare(spec: CompareSpec, watcher: Watcher | None = None, *, resolved: bool = False) -> Comparison:
    """Train every variant with every seed, and compare them. Errors as for `run`; finished runs stay in the folder."""
    spec = spec if resolved else complete_comparison(spec)
    for name in spec.variants:
        secrets.values(spec.variant(name, spec.seeds[0]).env_secrets)
    trust.remember(spec.run)
    path = _folder(spec.run, "compare")
    write_comparison_spec(path, spec.model_dump(mode="json"))
    results, tried = list[RunResult](), Tried()
    return _compare(spec, path, *schedule(spec, path, results, tried), (results, tried), watcher)


def sweep(spec: SweepSpec, watcher: Watcher | None = None) -> Sweep:
    """Train trials of `spec` (`orchestrator.sweep.plan.resolve_sweep` makes one) one after another, each with values
    that those before it suggest. Errors as for `run`; ended trials stay in the folder."""
    check_installed()
    secrets.values(spec.run.env_secrets)
    trust.remember(spec.run)
    path = _folder(spec.run, "sweep")
    write_sweep_spec(path, spec.model_dump(mode="json"))
    return prepare_sweep(spec, path)(watcher)


def prepare_sweep(spec: SweepSpec, path: Path) -> Callable[[Watcher | None], Sweep]:
    """A function that trains the trials that are left of the sweep in folder `path`."""

    def train(watcher: Watcher | None) -> Sweep:
        with _resumable(path):
            found = Search(spec, path, watcher, lambda found, best: write_sweep(path, found, best)).run()
        write_reports(path)
        return found

    return train


def _compare(
    spec: CompareSpec,
    path: Path,
    first_runs: Sequence[Planned],
    runs: Schedule,
    outcomes: tuple[Sequence[RunResult], Tried],
    watcher: Watcher | None,
) -> Comparison:
    results, tried = outcomes  # which `runs` appends to
    with _resumable(path):
        if first_runs:
            Execution(spec.run.timeout, watcher).run(first_runs, runs)
        else:
            list(runs)  # resumed after all runs were done: collects their results
        if results:
            check_stopped(results[-1])
    comparison = assemble(path.name, spec, results, tried)
    write_comparison(path, comparison)
    write_reports(path)
    return comparison


def _folder(spec: RunSpec, kind: str) -> Path:
    name = spec.run_id or new_id(f"{Path(spec.job.partition(':')[0]).stem}-{kind}")
    return claim_directory(Path(spec.out) if spec.out else RUNS / name)
