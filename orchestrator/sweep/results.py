"""What came of a sweep's trials, as its result and in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.results import Sweep, Trial
from orchestrator.spec.sweep import SweepSpec
from orchestrator.store.directory import BEST
from orchestrator.sweep.space import shown_name
from orchestrator.text import plain

if TYPE_CHECKING:
    import optuna

    from orchestrator.sweep.study import Study

STEPS, ELAPSED, VALUE = "steps", "elapsed", "value"
"""Attributes of trials in the study."""
_STATES: Mapping[str, Literal["finished", "pruned", "failed", "unfinished"]] = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


def document(spec: SweepSpec, path: Path, study: Study) -> Sweep:
    """All trials so far of the sweep in folder `path`."""
    best, sweep_id = study.best(), path.name
    trials = [_trial(one, sweep_id) for one in study.trials]
    return Sweep(
        sweep_id=sweep_id,
        job=spec.run.job,
        metric=spec.metric,
        direction=spec.direction,
        params={shown_name(name): text for name, text in spec.params.items()},
        wanted=spec.trials,
        trials=tuple(trials),
        best=best,
        command=None if best is None else shlex.join(["regatta", "run", str(path / BEST)]),
        importance=study.importance(),
    )


def best_spec(spec: SweepSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """The spec file of a run that trains `values` as a trial does: for the whole budget, without a target."""
    run = spec.trial(values, "best")
    fields = run.model_dump(mode="json", exclude_none=True, exclude={"address", "variant", "files_apart"})
    return fields | {"target": "none"}


def described(values: Mapping[str, Any]) -> str:
    """`learning_rate=0.00316, hidden=64`."""
    return ", ".join(
        f"{plain(shown_name(name))}={f'{value:.4g}' if isinstance(value, float) else plain(value)}"
        for name, value in values.items()
    )


def trial_label(number: int, over: int, wanted: int) -> str:
    """`trial 3 (4 of 20 ended)`: trials are numbered from 0, as Optuna does."""
    return f"trial {number} ({over} of {wanted} ended)"


def _trial(trial: optuna.trial.FrozenTrial, sweep_id: str) -> Trial:
    value = trial.user_attrs.get(VALUE, trial.value)  # of a pruned one, Optuna has what decided
    return Trial(
        number=trial.number,
        run_id=f"{sweep_id}-t{trial.number:03d}",
        params={shown_name(name): value for name, value in trial.params.items()},
        state=_STATES.get(trial.state.name, "unfinished"),
        value=value,
        steps=trial.user_attrs.get(STEPS),
        elapsed_seconds=trial.user_attrs.get(ELAPSED),
    )
