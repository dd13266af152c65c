"""Comparisons put together again from stored runs: after a crash, or of runs that were made on different days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import UsageError
from orchestrator.report.stored import (
    StoredRun,
    Study,
    joined_folders,
    load_run,
    run_folders,
    stored_comparison,
    stored_margin,
)
from orchestrator.results import DEFAULT_MARGIN, Comparison, ModeResults
from orchestrator.text import plain, plural
from orchestrator.verdict import ONE_AFTER_ANOTHER, judge, summarize
from orchestrator.verdict.evidence import plan_race, took_turns

_OF_ONE_RUN = frozenset(
    {"seed", "out", "run_id", "directory", "address", "timeout", "launch_timeout", "mode", "variant", "price"}
)
"""Fields of a spec in which runs of one variant may differ."""


def rebuild(paths: Sequence[Path], baseline: str | None = None) -> Comparison:
    """The comparison of all runs stored in `paths`: folders of comparisons or of single runs.

    Runs of several folders are judged unpaired: the machine was another one that day, or busier. Variants keep
    their names, with what sets them apart where one name ran with several settings. The baseline is
    the named variant, else the first comparison's, else that of the run which began first.
    Raises UsageError when there is no run, jobs differ, or the baseline is unknown.
    """
    comparison = join(paths, baseline).comparison
    if comparison is None:
        raise UsageError("these folders hold no comparison")
    return comparison


def join(paths: Sequence[Path], baseline: str | None = None) -> Study:
    """As `rebuild`, with the runs beside the comparison."""
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    found = {path: _load(path) for path in paths}
    trained = {path: [run for run in loaded.runs if _was_trained(run)] for path, loaded in found.items()}
    unread = [problem for loaded in found.values() for problem in loaded.problems]
    if not any(trained.values()):
        where = ", ".join(str(path) for path in paths) or "no folder"
        raise UsageError(" ".join([f"There is no run to report in {where}.", *unread]))
    runs = sorted((run for members in trained.values() for run in members), key=_began)
    jobs = {run.result.job for run in runs}
    if len(jobs) > 1:
        raise UsageError(f"These are runs of different jobs, which cannot be compared: {', '.join(sorted(jobs))}.")
    modes = group(runs)
    sources = [path for path, members in trained.items() if members]
    untrained = sum(len(loaded.runs) for loaded in found.values()) - len(runs)
    interleaved = took_turns([run.variant for run in runs])
    notes = (
        *_joined(sources),
        *([] if interleaved or len(sources) > 1 else [ONE_AFTER_ANOTHER]),
        *_left_out(untrained),
        *(f"not read: {problem}" for problem in unread),
    )
    margin = next((stored for path in paths if (stored := stored_margin(path))), DEFAULT_MARGIN)
    first = baseline or _stored_baseline(paths) or next(iter(modes))
    results = {name: tuple(run.result for run in members) for name, members in modes.items()}
    if first not in results:
        raise UsageError(f"baseline: {first!r} is not one of the variants: {', '.join(results)}")
    ordered = {name: results[name] for name in (first, *(name for name in results if name != first))}
    horizon = plan_race(ordered).horizon
    comparison = Comparison(
        comparison_id="+".join(path.name for path in paths),
        job=jobs.pop(),
        baseline=first,
        seeds=tuple(sorted({run.result.seed for run in runs})),
        margin=margin,
        interleaved=interleaved,
        modes={
            name: ModeResults(runs=members, summary=summarize(members, horizon)) for name, members in ordered.items()
        },
        verdict=judge(ordered, first, margin, paired=len(sources) == 1, notes=notes),
    )
    joined = tuple(paths) if len(paths) > 1 else ()
    return Study(comparison.comparison_id, comparison.job, {n: modes[n] for n in ordered}, comparison, joined=joined)


def group(runs: Iterable[StoredRun]) -> dict[str, list[StoredRun]]:
    """Runs by variant, in the order given; one that was several things becomes `sync workers=2`, `sync workers=4`."""
    by_name: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_name.setdefault(run.variant, []).append(run)
    named: dict[str, list[StoredRun]] = {}
    for name, members in by_name.items():
        settings = [_settings(run.spec) for run in members]
        known = dict.fromkeys(key for setting in settings for key in setting)
        differing = [key for key in known if len({setting.get(key) for setting in settings}) > 1]
        for run, setting in zip(members, settings, strict=True):
            label = " ".join([name, *(f"{key}={setting.get(key, '?')}" for key in differing)])
            named.setdefault(label, []).append(run)
    return named


def whole(path: Path, comparison: Comparison) -> Study:
    """A stored comparison, with the folders of its runs where they still are."""
    folders = {run.result.run_id: run for run in _load(path).runs}
    modes = {
        name: [replace(folders.get(result.run_id, StoredRun(result)), result=result) for result in mode.runs]
        for name, mode in comparison.modes.items()
    }
    return Study(comparison.comparison_id, comparison.job, modes, comparison, is_stored=True)


def study(path: Path) -> Study:
    """What the folder `path` holds: a run, or a comparison, rebuilt where it was not finished.

    Raises:
        UsageError: it holds neither.
    """
    sources = joined_folders(path)
    if sources:
        return join(sources)
    stored = stored_comparison(path)
    folders = run_folders(path)
    if stored is None and folders == [path]:
        run = load_run(path)
        return Study(run.result.run_id, run.result.job, {run.variant: [run]})
    if stored is not None:
        known = {result.run_id for mode in stored.modes.values() for result in mode.runs}
        if all(run.result.run_id in known for run in _load(path).runs if _was_trained(run)):
            return whole(path, stored)
    if not folders:
        raise UsageError(f"{path} holds neither a run nor a comparison. Name a folder such as runs/<run_id>.")
    return join([path])


class _Loaded(NamedTuple):
    runs: list[StoredRun]
    problems: list[str]


def _load(path: Path) -> _Loaded:
    """All runs below `path`; one that cannot be read is named, and keeps the others from nothing."""
    loaded = _Loaded([], [])
    for folder in run_folders(path):
        try:
            loaded.runs.append(load_run(folder))
        except UsageError as error:
            loaded.problems.append(error.message)
    return loaded


def _settings(spec: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, Any] = {}
    for key, value in spec.items():
        if key == "params" and isinstance(value, Mapping):
            flat |= {f"params.{name}": inner for name, inner in value.items()}
        elif key not in _OF_ONE_RUN:
            flat[key] = value
    return {key: plain(value, 60) for key, value in flat.items()}


def _was_trained(run: StoredRun) -> bool:
    """False for a run that another one's failure kept from starting: it says nothing about its mode."""
    result = run.result
    return bool(result.steps or result.failures or result.status == "succeeded")


def _began(run: StoredRun) -> float:
    rows = run.rows("SELECT MIN(time) FROM events")
    return rows[0][0] if rows and isinstance(rows[0][0], float) else float("inf")


def _stored_baseline(paths: Sequence[Path]) -> str | None:
    stored = [comparison.baseline for comparison in map(stored_comparison, paths) if comparison is not None]
    return stored[0] if stored else None


def _left_out(count: int) -> list[str]:
    return [f"{plural(count, 'run')} that never began to train left out"] if count else []


def _joined(sources: Sequence[Path]) -> list[str]:
    if len(sources) < 2:
        return []
    return [f"joined from {len(sources)} folders, so runs of equal seeds are not taken for pairs"]
