"""The Python API: `run`, `compare`, `plan`. The command line calls these and prints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.coordinator import Tick
from orchestrator.errors import ClusterError, RegattaError
from orchestrator.fleet import Crew, Fleet
from orchestrator.planning import plan_document
from orchestrator.result import Comparison, ModeResults, RunResult
from orchestrator.runner import Clock, Runner, Watcher
from orchestrator.spec import CompareSpec, RunSpec
from orchestrator.store import claim_directory, new_id, write_comparison
from orchestrator.verdict import judge, summarize

RUNS = Path("runs")


class Silent:
    """A watcher that does not look."""

    def run_begins(self, spec: RunSpec, run_id: str) -> None: ...

    def launching(self, tick: Tick) -> None: ...

    def training(self, tick: Tick) -> None: ...

    def run_ended(self, result: RunResult) -> None: ...


def plan(spec: RunSpec) -> dict[str, Any]:
    """Tasks, resources, TF_CONFIG of each, and budget of a run; starts nothing."""
    return plan_document(spec)


def run(spec: RunSpec, watcher: Watcher | None = None) -> RunResult:
    """Train one run to its end and return its result, which is also in its folder.

    Raises:
        UsageError, SpecError: spec, job or folder are wrong (the run may have started, if only the job's code
            could show it).
        JobError: the job's own code raised.
        ClusterError: Ray or a machine failed.
    """
    return _Command(spec.timeout, watcher).run_all([spec], _folder(spec, spec.label))[0]


def compare(spec: CompareSpec, watcher: Watcher | None = None) -> Comparison:
    """Train every mode and seed, and judge; raises as `run` does, after writing what was finished."""
    runs = [spec.variant(mode, seed) for seed in spec.seeds for mode in spec.modes]
    base = spec.run
    path = _folder(base, "compare")
    results = _Command(base.timeout, watcher).run_all(runs, path, nested=True)
    comparison = assemble(path.name, spec, results)
    write_comparison(path, comparison)
    return comparison


def assemble(comparison_id: str, spec: CompareSpec, results: Sequence[RunResult]) -> Comparison:
    """Results, summaries and verdict of a comparison."""
    by_mode: dict[str, tuple[RunResult, ...]] = {
        mode: tuple(r for r in results if r.mode == mode) for mode in spec.modes
    }
    return Comparison(
        comparison_id=comparison_id,
        job=spec.run.job,
        baseline=spec.modes[0],
        seeds=spec.seeds,
        modes={mode: ModeResults(runs=runs, summary=summarize(runs)) for mode, runs in by_mode.items()},
        verdict=judge(by_mode, spec.modes[0]),
    )


def _folder(spec: RunSpec, kind: str) -> Path:
    name = spec.run_id or new_id(f"{Path(spec.job.partition(':')[0]).stem}-{kind}")
    return claim_directory(Path(spec.out) if spec.out else RUNS / name)


class _Command:
    """One invocation: its clock, its watcher, and the fleet it launches."""

    def __init__(self, timeout: float | None, watcher: Watcher | None) -> None:
        started = time.monotonic()
        self._clock = Clock(started, None if timeout is None else started + timeout)
        self._watcher = watcher or Silent()

    def run_all(self, specs: Sequence[RunSpec], path: Path, *, nested: bool = False) -> list[RunResult]:
        """Every run in turn, modes interleaved as `specs` has them, each mode in one launched group.

        All groups are launched before the first run trains, so that no launch disturbs a run's clock.
        """
        firsts = {spec.mode: spec for spec in reversed(specs)}
        order = list(dict.fromkeys(spec.mode for spec in specs))
        runners: list[Runner] = []
        results: list[RunResult] = []
        current: Runner | None = None
        try:
            with Fleet([firsts[mode] for mode in order]) as fleet:
                waiting = {}
                for mode in order:
                    current = waiting[mode] = self._runner(firsts[mode], path, nested)
                    runners.append(current)
                    current.prepare(fleet.crews[mode])
                for mode in order:
                    current = waiting[mode]
                    current.await_ready(fleet.crews[mode], self._deadline(fleet.deadline))
                for spec in specs:
                    current = waiting.pop(spec.mode, None) or self._runner(spec, path, nested)
                    if current not in runners:
                        runners.append(current)
                    results.append(self._train(current, fleet.crews[spec.mode]))
                    runners.remove(current)
        except BaseException as error:
            for runner in runners:
                runner.abandon(error if runner is current else UnstartedError())
            raise
        return results

    def _train(self, runner: Runner, crew: Crew) -> RunResult:
        return runner.train(crew)

    def _runner(self, spec: RunSpec, path: Path, nested: bool) -> Runner:
        run_id = f"{path.name}-{spec.label}" if nested else (spec.run_id or path.name)
        folder = claim_directory(path / "runs" / run_id) if nested else path
        return Runner(spec, folder, run_id, self._watcher, self._clock)

    def _deadline(self, launch: float) -> float:
        return launch if self._clock.deadline is None else min(launch, self._clock.deadline)


class UnstartedError(RegattaError):
    """Another run of the comparison failed before this one began to train."""

    def __init__(self) -> None:
        super().__init__("not trained, because another run of the comparison failed")


__all__ = ["RUNS", "ClusterError", "Silent", "assemble", "compare", "plan", "run"]
