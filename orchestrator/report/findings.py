"""What went wrong, run by run, with the runs that met the same put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.results import Finding, RunResult

_MOST_ALIKE = 6


@dataclass(frozen=True)
class Sighting:
    """One kind of finding, or one failure, of one variant."""

    variant: str
    kind: str
    runs: int
    of: int
    seen: tuple[str, ...]
    """What it looked like, and in which seeds."""
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()


def sightings(modes: Mapping[str, Sequence[RunResult]]) -> list[Sighting]:
    """Findings about the loss and the speed first, then failures, variant by variant."""
    found = []
    for name, results in modes.items():
        met: dict[str, list[tuple[int, Finding]]] = {}
        for result in results:
            for finding in result.stability.findings:
                met.setdefault(finding.kind, []).append((result.seed, finding))
        found += [_sighting(name, kind, seen, len(results)) for kind, seen in met.items()]
        found += [failure for result in results for failure in _failures(name, result, len(results))]
    return found


def _sighting(variant: str, kind: str, met: Sequence[tuple[int, Finding]], of: int) -> Sighting:
    alike: dict[str, list[int]] = {}
    for seed, finding in met:
        said = f"{finding.symptom}: {finding.evidence}" if finding.evidence else finding.symptom
        if finding.action != "warned":
            said += f" ({finding.action})"
        alike.setdefault(said, []).append(seed)
    seen = [
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {said}"
        for said, seeds in list(alike.items())[:_MOST_ALIKE]
    ]
    if len(alike) > _MOST_ALIKE:
        seen.append(f"and {len(alike) - _MOST_ALIKE} more")
    return Sighting(
        variant=variant,
        kind=kind,
        runs=len({seed for seed, _ in met}),
        of=of,
        seen=tuple(seen),
        causes=tuple(dict.fromkeys(cause for _, finding in met for cause in finding.causes)),
        remedies=tuple(dict.fromkeys(remedy for _, finding in met for remedy in finding.remedies)),
    )


def _failures(variant: str, result: RunResult, of: int) -> list[Sighting]:
    return [
        Sighting(
            variant=variant,
            kind=f"failure of {failure.task}",
            runs=1,
            of=of,
            seen=(
                f"seed {result.seed}, attempt {failure.attempt}: {failure.summary} ({failure.kind})"
                + (f"; log: {failure.log}" if failure.log else ""),
            ),
        )
        for failure in result.failures
    ]
