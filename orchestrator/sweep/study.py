"""The study of a sweep in Optuna: which values are tried next, and which trials are pruned. Kept in SQLite."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.spec.sweep import SweepSpec
from orchestrator.sweep.space import Choices, Values

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"
_NAME = "sweep"
_KEPT_PERCENT, _FIRST_EVALUATION = 75.0, 3
"""Only a trial in the worst quarter at an evaluation, from the third one on, is pruned: with the median, one of twelve
trials of `digits` was that had the best accuracy of all a second later."""
_UNPRUNED = 5
"""Trials that are trained to their end before any is pruned, and that an evaluation is compared with at least."""
_FEWEST_FOR_IMPORTANCE = 8
NO_OPTUNA = "A sweep needs Optuna, which training does not: install the extra `sweep` (pip install 'regatta[sweep]')."


class Study:
    """The study in the folder `path` of a sweep, which is made if there is none."""

    def __init__(self, path: Path, spec: SweepSpec, space: Mapping[str, Values]) -> None:
        """Raises UsageError if Optuna is not installed, or the study cannot be read."""
        check_installed()
        import optuna
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {name: _distribution(values) for name, values in space.items()}
        url = URL.create("sqlite", database=str(path / STUDY)).render_as_string()
        try:
            self._study = optuna.create_study(
                storage=optuna.storages.RDBStorage(url), study_name=_NAME, direction=spec.direction, load_if_exists=True
            )
            known = len(self.trials)
        except (SQLAlchemyError, RuntimeError, ValueError) as error:
            raise UsageError(f"{path / STUDY} cannot be read as the study of a sweep: {str(error)[:200]}") from None
        # Another seed after a resume, or the first random values would be drawn once more.
        self._study.sampler = optuna.samplers.TPESampler(seed=spec.run.seed + known)
        pruner = optuna.pruners.PercentilePruner(
            _KEPT_PERCENT, n_startup_trials=_UNPRUNED, n_min_trials=_UNPRUNED, n_warmup_steps=_FIRST_EVALUATION
        )
        self._study.pruner = pruner if spec.prune else optuna.pruners.NopPruner()
        self._wanted = spec.trials

    @property
    def trials(self) -> Sequence[optuna.trial.FrozenTrial]:
        """All trials that were begun."""
        import optuna

        return [trial for trial in self._study.trials if trial.state != optuna.trial.TrialState.WAITING]

    @property
    def left(self) -> int:
        """How many trials are still to be begun."""
        return max(0, self._wanted - len(self.trials))

    @property
    def over(self) -> int:
        """How many trials have ended."""
        return sum(trial.state.is_finished() for trial in self.trials)

    def begun(self) -> list[optuna.Trial]:
        """Trials that have begun and not ended, as after an interruption."""
        import optuna

        begun = [trial for trial in self.trials if trial.state == optuna.trial.TrialState.RUNNING]
        for trial in begun:
            if trial.params.keys() != self._distributions.keys():  # the driver died while its values were chosen
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return [
            optuna.Trial(self._study, trial._trial_id)
            for trial in begun
            if trial.params.keys() == self._distributions.keys()
        ]

    def ask(self, fixed: Mapping[str, Any] | None = None) -> optuna.Trial:
        """Begin another trial, with the values of `fixed`."""
        if fixed:
            self._study.enqueue_trial(dict(fixed))
        return self._study.ask(self._distributions)

    def worse(self, trial: optuna.Trial, evaluation: int, value: float) -> bool:
        """Report what a trial's evaluation found; returns whether the trial is to be pruned."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an evaluation repeated after a restart counts once
            trial.report(value, evaluation)
        return trial.should_prune()

    def ended(self, trial: optuna.Trial, value: float | None, *, pruned: bool = False) -> None:
        """Report the end of a trial; without a value it failed."""
        import optuna

        if pruned:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif value is None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def best(self) -> int | None:
        """Number of the best finished trial."""
        try:
            return self._study.best_trial.number
        except ValueError:
            return None

    def importance(self) -> dict[str, float] | None:
        """The share of each parameter in the spread of the metric; None if there are too few trials to tell."""
        import optuna

        finished = [trial for trial in self.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        if len(finished) < _FEWEST_FOR_IMPORTANCE or len(self._distributions) < 2:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}


def check_installed() -> None:
    """Raises UsageError if Optuna is not installed."""
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise UsageError(NO_OPTUNA)


def _distribution(values: Values) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if isinstance(values, Choices):
        return distributions.CategoricalDistribution(values.values)
    if values.whole:
        return distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return distributions.FloatDistribution(values.low, values.high, log=values.log)
