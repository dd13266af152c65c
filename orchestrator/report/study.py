"""What a report describes: one run, or a comparison and the runs that it judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.report.stored import StoredRun, load_run, mapping_or_empty, run_folders, stored_comparison
from orchestrator.results import DEFAULT_MARGIN, Comparison, RunResult
from orchestrator.store.directory import COMPARISON_SPEC
from orchestrator.text import is_number, plural
from orchestrator.verdict import assemble


@dataclass(frozen=True)
class Study:
    """One run, or a comparison with its runs."""

    name: str
    job: str
    modes: Mapping[str, Sequence[StoredRun]]
    """Runs by variant."""
    comparison: Comparison | None = None
    """Null for a single run."""
    is_stored: bool = False
    """Whether the comparison was read from comparison.json, not assembled from its runs."""

    @property
    def runs(self) -> list[tuple[str, StoredRun]]:
        """All runs with the names of their variants."""
        return [(name, run) for name, runs in self.modes.items() for run in runs]

    @property
    def is_single(self) -> bool:
        """Whether this is one run, and no comparison."""
        return self.comparison is None and len(self.runs) == 1

    @property
    def results(self) -> dict[str, tuple[RunResult, ...]]:
        return {name: tuple(run.result for run in runs) for name, runs in self.modes.items()}


def load_study(path: Path) -> Study:
    """The run or the comparison in folder `path`.

    A comparison is assembled from its runs if it was not finished, or if it has runs that comparison.json lacks.

    Raises:
        UsageError: the folder holds neither, or a comparison of which no run can be reported.
    """
    stored, folders = stored_comparison(path), run_folders(path)
    if stored is None and folders == [path]:
        run = load_run(path)
        return Study(run.result.run_id, run.result.job, {run.result.variant_name: [run]})
    if stored is None and not folders:
        raise UsageError(f"{path} holds neither a run nor a comparison. Name a folder such as runs/<run_id>.")
    runs, problems = _load(folders)
    trained = [run for run in runs if _was_trained(run.result)]
    if stored is not None:
        known = {result.run_id for mode in stored.modes.values() for result in mode.runs}
        if known.issuperset(run.result.run_id for run in trained):
            return _with_folders(stored, runs)
    if not trained:
        raise UsageError(" ".join([f"There is no run to report in {path}.", *problems]))
    notes = [f"not read: {problem}" for problem in problems]
    if untrained := len(runs) - len(trained):
        notes.insert(0, f"{plural(untrained, 'run')} without training left out")
    return _assembled(path, stored, sorted(trained, key=_began), notes)


def _with_folders(comparison: Comparison, runs: Iterable[StoredRun]) -> Study:
    """A stored comparison, with the folders of its runs if they still exist."""
    by_id = {run.result.run_id: run for run in runs}
    modes = {
        name: [replace(by_id.get(result.run_id, StoredRun(result)), result=result) for result in mode.runs]
        for name, mode in comparison.modes.items()
    }
    return Study(comparison.comparison_id, comparison.job, modes, comparison, is_stored=True)


def _assembled(path: Path, stored: Comparison | None, runs: Sequence[StoredRun], notes: Sequence[str]) -> Study:
    jobs = sorted({run.result.job for run in runs})
    if len(jobs) > 1:
        raise UsageError(f"The runs in {path} are of different jobs, which cannot be compared: {', '.join(jobs)}.")
    modes: dict[str, list[StoredRun]] = {}
    for run in runs:
        modes.setdefault(run.result.variant_name, []).append(run)
    planned, margin = _terms(path, stored)
    variants = [name for name in dict.fromkeys([*planned, *modes]) if name in modes]
    comparison = assemble(
        path.resolve().name,
        [run.result for run in runs],
        variants,
        job=jobs[0],
        seeds=sorted({run.result.seed for run in runs}),
        margin=margin,
        notes=notes,
        tuning=stored.tuning if stored else None,
    )
    return Study(comparison.comparison_id, comparison.job, {name: modes[name] for name in variants}, comparison)


def _terms(path: Path, stored: Comparison | None) -> tuple[list[str], float]:
    """Names of the variants, the baseline first, and the margin, from comparison.json or else comparison.yaml."""
    if stored is not None:
        return [stored.baseline, *stored.modes], stored.margin
    spec = mapping_or_empty(path / COMPARISON_SPEC)
    variants, margin = spec.get("variants"), spec.get("margin")
    names = list(variants) if isinstance(variants, Mapping) else []
    return names, margin if is_number(margin) and 0 < margin < 1 else DEFAULT_MARGIN


def _load(folders: Iterable[Path]) -> tuple[list[StoredRun], list[str]]:
    """The runs in these folders, and what is wrong with those that cannot be read."""
    runs, problems = [], []
    for folder in folders:
        try:
            runs.append(load_run(folder))
        except UsageError as error:
            problems.append(error.message)
    return runs, problems


def _was_trained(result: RunResult) -> bool:
    """False if the failure of another run kept this one from starting, which says nothing about its variant."""
    return bool(result.steps or result.failures or result.status == "succeeded")


def _began(run: StoredRun) -> float:
    rows = run.rows("SELECT MIN(time) FROM events")
    return rows[0][0] if rows and isinstance(rows[0][0], float) else float("inf")
