"""Problems of the runs: findings and failures, with those that runs have in common merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.stored import StoredRun
from orchestrator.results import Finding, RunResult

_MOST_ALIKE = 6
_LOG_BYTES, _LOG_LINES = 8192, 20
_MOST_LOGS = 5


@dataclass(frozen=True)
class Problem:
    """One kind of finding, or one failure, of a variant."""

    variant: str
    kind: str
    runs: int
    of: int
    descriptions: tuple[str, ...]
    """What happened, and in which seeds."""
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()


def problems(modes: Mapping[str, Sequence[RunResult]]) -> list[Problem]:
    """Problems by variant: findings about the loss and the speed first, then failures."""
    found = []
    for name, results in modes.items():
        by_kind: dict[str, list[tuple[int, Finding]]] = {}
        for result in results:
            for finding in result.stability.findings:
                by_kind.setdefault(finding.kind, []).append((result.seed, finding))
        found += [_problem(name, kind, findings, len(results)) for kind, findings in by_kind.items()]
        found += [failure for result in results for failure in _failures(name, result, len(results))]
    return found


def _problem(variant: str, kind: str, findings: Sequence[tuple[int, Finding]], of: int) -> Problem:
    alike: dict[str, list[int]] = {}
    for seed, finding in findings:
        words = f"{finding.symptom}: {finding.evidence}" if finding.evidence else finding.symptom
        if finding.action != "warned":
            words += f" ({finding.action})"
        alike.setdefault(words, []).append(seed)
    descriptions = [
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {words}"
        for words, seeds in list(alike.items())[:_MOST_ALIKE]
    ]
    if len(alike) > _MOST_ALIKE:
        descriptions.append(f"and {len(alike) - _MOST_ALIKE} more")
    return Problem(
        variant=variant,
        kind=kind,
        runs=len({seed for seed, _ in findings}),
        of=of,
        descriptions=tuple(descriptions),
        causes=tuple(dict.fromkeys(cause for _, finding in findings for cause in finding.causes)),
        remedies=tuple(dict.fromkeys(remedy for _, finding in findings for remedy in finding.remedies)),
    )


def _failures(variant: str, result: RunResult, of: int) -> list[Problem]:
    return [
        Problem(
            variant=variant,
            kind=f"failure of {failure.task}",
            runs=1,
            of=of,
            descriptions=(
                f"seed {result.seed}, attempt {failure.attempt}: {failure.summary} ({failure.kind})"
                + (f"; log: {failure.log}" if failure.log else ""),
            ),
        )
        for failure in result.failures
    ]


def failed_logs(runs: Iterable[tuple[str, StoredRun]]) -> list[tuple[StoredRun, tuple[str, str]]]:
    """The failed runs whose logs can be read, at most `_MOST_LOGS`, each with its log's name and last lines."""
    failed = [run for _, run in runs if run.result.status == "failed"][:_MOST_LOGS]
    return [(run, end) for run in failed if (end := log_end(run)) is not None]


def log_end(run: StoredRun) -> tuple[str, str] | None:
    """Name and last lines of the log of the task that failed last; None if the run's folder has no such file."""
    if run.path is None or not run.result.failures or (name := run.result.failures[-1].log) is None:
        return None
    file = run.path / name
    try:
        if not file.resolve().is_relative_to(run.path.resolve()):
            return None
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - _LOG_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return name, "\n".join(lines[-_LOG_LINES:])
