"""The earlier fits of a script's run: each is a run of its own in a folder below, trained before the judged one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import results
from orchestrator.errors import UsageError
from orchestrator.results import RunResult, Status
from orchestrator.runs.checkpoints import check_destination
from orchestrator.runs.mode_changes import modes_so_far
from orchestrator.runs.planned import Planned
from orchestrator.runs.starts import find_start
from orchestrator.spec.before_judged import before_judged
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import ENDED_FIT, FITS, RESULT
from orchestrator.store.folders import load_done, load_spec
from orchestrator.store.locks import check_not_driven
from orchestrator.store.metrics import METRICS
from workers import files
from workers.messages import INTERRUPTED


def earlier_runs(planned: Planned) -> list[Planned]:
    """The runs of the fits before the one that `planned` trains, in order."""
    return [
        Planned(spec, planned.path / FITS / str(number), f"{planned.run_id}-fit{number}")
        for number, spec in enumerate(before_judged(planned.spec), 1)
    ]


def trained(fit: Planned) -> RunResult | None:
    """The result of the earlier fit `fit` if it has been trained to its end, and left behind what it should."""
    result = load_done(fit.path)
    return result if result and result.status == "succeeded" and (fit.path / ENDED_FIT).is_file() else None


def to_train(fit: Planned) -> Planned:
    """The run of an earlier fit, planned to begin, or to continue where it has ended.

    Raises:
        UsageError: it cannot.
    """
    if not (fit.path / METRICS).exists():
        check_destination(fit.spec, fit.run_id, fit.path)
        return fit
    check_not_driven(fit.path)
    resumed, _ = find_start(fit.spec, fit.run_id, fit.path)
    modes = modes_so_far(fit.path, str(load_spec(fit.path).get("mode")))
    (fit.path / RESULT).unlink(missing_ok=True)
    return replace(fit, claimed=True, resumed=replace(resumed, modes=modes))


def ended(runs: Sequence[Planned]) -> list[bytes]:
    """What the fits of `runs` have left behind.

    Raises:
        UsageError: it cannot be read.
    """
    return [_read(run.path / ENDED_FIT) for run in runs]


def _read(path: Path) -> bytes:
    try:
        return files.read(path, path.stat().st_size)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}), so the fits after it cannot be trained.") from None


def why_cut_off(earlier: Sequence[RunResult]) -> tuple[Status, str]:
    """Status of a run that could not begin, because the last of its earlier fits has not succeeded; and its reason."""
    last = earlier[-1]
    reason = last.stop_reason or last.status
    ends_all = last.status == "preempted" or reason in ("timeout", INTERRUPTED)
    return last.status, reason if ends_all else f"in fit {len(earlier)}: {reason}"


def with_earlier(result: RunResult, spec: RunSpec, earlier: Sequence[RunResult]) -> RunResult:
    """`result` of the run `spec`, with what became of its earlier fits."""
    entries = [
        results.EarlierFit(
            fit=number,
            line=spec.earlier_fits[number - 1].line,
            mode=one.mode,
            status=one.status,
            samples=one.samples,
            epochs=one.samples / one.samples_per_epoch if one.samples and one.samples_per_epoch else None,
            loss=one.final.get("loss"),
            elapsed=one.seconds.elapsed,
            total=one.seconds.total,
            attempts=one.attempts,
        )
        for number, one in enumerate(earlier, 1)
    ]
    return result.model_copy(update={"earlier_fits": tuple(entries)})


def told_start(planned: Planned, start: str) -> str:
    """Where a run that is resumed continues, in words: in the first fit that is not trained, or at its own `start`."""
    for number, fit in enumerate(earlier_runs(planned), 1):
        if trained(fit) is None:
            began = (fit.path / METRICS).exists()
            where = find_start(fit.spec, fit.run_id, fit.path)[1] if began else "from its beginning"
            return f"with fit {number} of {len(planned.spec.earlier_fits) + 1}, {where}"
    return start
