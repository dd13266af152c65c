"""Predictions of step time, samples to a target and time to it, for every mode and number of workers. Pure.

Each has a 90 % interval: quantiles of predictions from resampled measurements, through the whole chain, times an error
that the model was found to have besides (`MODEL_ERROR`, docs/foresight.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.foresight.costs import Evidence, costs
from orchestrator.foresight.curve import crossing, meets
from orchestrator.foresight.prediction import Case, Learned, Prediction, Range, apart
from orchestrator.foresight.samples import Reached, fit
from orchestrator.foresight.step_time import FORMULAS, Costs, StepTime, Where
from workers.modes.registry import batches_per_update, traits
from workers.modes.traits import Waits

if TYPE_CHECKING:
    import numpy as np

    Random = np.random.Generator

RESAMPLES = 100
_RESAMPLED_DRAWS = 60
"""Steps of each worker that a resample is predicted for, which takes most of the time; scaled to those of the run."""
MODEL_ERROR: Mapping[Waits, float] = {
    "nothing": 0.1,
    "workers": 0.15,
    "servers": 0.2,
    "rounds": 0.15,
    "quorum": 0.2,
    "bound": 0.2,
}
"""Standard deviation of the logarithm of measured over predicted step times, by what they wait for; times the root of
the share of a step that is not slept, as paced workers were found to differ less (docs/foresight.md)."""
REPEAT_ERROR = 0.03
"""What is added to it: by how much step times of the same run differ from one time to the next, asleep or not."""
SAMPLES_ERROR = 0.15
"""The same for samples to a target: what one seed differs from another."""


@dataclass(frozen=True)
class _Outcome:
    step: StepTime
    samples: float | None
    seconds: float | None


def predict(cases: Sequence[Case], found: Evidence, learned: Learned | str, seed: int) -> list[Prediction]:
    """Predict `cases`; gains are over the first of them.

    `learned` is a text, the reason, if nothing is known of the samples to a target.
    """
    import numpy as np

    settings = [_Setting.of(case, found) for case in cases]
    once = _outcomes(settings, found, learned, None)
    few = [setting.with_few_draws() for setting in settings]
    parts = _outcomes(few, found, learned, None)
    scaled = [setting.scaled(whole, part) for setting, whole, part in zip(few, once, parts, strict=True)]
    random = np.random.default_rng(seed)
    again = [_outcomes(scaled, found, learned, random) for _ in range(RESAMPLES)]
    return [_prediction(index, cases, once, again, learned) for index in range(len(cases))]


@dataclass(frozen=True)
class _Setting:
    """What a case is predicted with, besides the costs."""

    case: Case
    where: Where
    asleep: float
    """Seconds of a step in which a worker sleeps under a straggler profile, or waits for one that does: those are known
    exactly."""
    scale: float = 1.0
    """Of the seconds of a step."""

    @classmethod
    def of(cls, case: Case, found: Evidence) -> _Setting:
        import numpy as np

        waits = traits(case.mode).waits_for
        where = found.where(case.mode, case.workers, case.batch)
        sleeps = FORMULAS[waits](Costs(np.zeros(1)), where).seconds if waits and where.profile.sleeps else 0.0
        return cls(case, where, sleeps)

    def with_few_draws(self) -> _Setting:
        return replace(self, where=replace(self.where, draws=min(self.where.draws, _RESAMPLED_DRAWS)))

    def scaled(self, whole: _Outcome | str, part: _Outcome | str) -> _Setting:
        """The same, so that what it predicts as `part` comes out as `whole`."""
        if isinstance(whole, str) or isinstance(part, str):
            return self
        return replace(self, scale=whole.step.seconds / part.step.seconds)


def _outcomes(
    settings: Sequence[_Setting],
    found: Evidence,
    learned: Learned | str,
    random: Random | None,
) -> list[_Outcome | str]:
    """Each case predicted once, from the measurements or from a resample; a text says why one is not."""
    needed = learned if isinstance(learned, str) else _samples(learned, random)
    known: dict[tuple[str, int], Costs | str] = {}
    outcomes: list[_Outcome | str] = []
    for setting in settings:
        case = setting.case
        key = (case.mode, case.batch)
        if key not in known:
            known[key] = costs(case.mode, found, case.batch, random)
        own, waits = known[key], traits(case.mode).waits_for
        if isinstance(own, str) or waits is None:
            outcomes.append(own if isinstance(own, str) else "there is no model of it")
            continue
        step = FORMULAS[waits](own, setting.where)
        awake = max(0.0, 1 - setting.asleep / (step.seconds * setting.scale))
        deviation = math.hypot(MODEL_ERROR[waits] * awake**0.5, REPEAT_ERROR)
        error = 1.0 if random is None else math.exp(random.normal(0, deviation))
        factor = setting.scale * error
        step = replace(step, seconds=step.seconds * factor, batches_per_s=step.batches_per_s / factor)
        samples = None if isinstance(needed, str) else needed(case, step)
        seconds = (
            None
            if samples is None
            else found.start(case.mode, case.workers) + samples / (step.batches_per_s * case.batch)
        )
        outcomes.append(_Outcome(step, samples, seconds))
    return outcomes


def _samples(learned: Learned, random: Random | None) -> Callable[[Case, StepTime], float | None] | str:
    """Samples to the target by case and what its steps do; or why that is not known.

    How batch size and staleness change them is fitted where all curves of the probe got to: at the target, or else at
    the level that the least of them reached. How far the target is beyond that level, a run without staleness says.
    """
    target, fresh = learned.target, [run for run in learned.curves if run.apart == 0]
    if not fresh:
        return "the probe has no evaluations"
    curve = fresh[0].points
    whole = meets(curve, target)
    if whole.samples is None:
        return whole.reason or "the probe did not meet the target"
    rising = target.op in (">=", ">")
    bests = [(max if rising else min)(value for _, value in run.points) for run in learned.curves if run.points]
    level = min(target.value, *bests) if rising else max(target.value, *bests)
    at = target.model_copy(update={"value": level, "op": ">=" if rising else "<="})
    runs = []
    for run in learned.curves:
        samples = crossing(run.points, at)
        if samples:
            noise = 1.0 if random is None else math.exp(random.normal(0, SAMPLES_ERROR))
            runs.append(Reached(samples * noise, run.samples_per_update, run.apart, run.mode))
    fitted = fit(runs, learned.noise)
    first = crossing(curve, at)
    if fitted is None or not first:
        return "the probe saw too little of the learning curve"
    beyond = whole.samples / first

    def needed(case: Case, step: StepTime) -> float | None:
        size = case.batch * batches_per_update(case.mode, case.workers)
        samples = fitted.at(size, apart(case.mode, case.workers, step.staleness), case.mode)
        return None if samples is None else samples * beyond / step.kept + learned.interval / 2

    return needed


def _prediction(
    index: int,
    cases: Sequence[Case],
    once: Sequence[_Outcome | str],
    again: Sequence[Sequence[_Outcome | str]],
    learned: Learned | str,
) -> Prediction:
    def spread(of: Callable[[_Outcome, _Outcome], float | None], reason: str | None) -> Range:
        values = [_value(of, drawn[index], drawn[0]) for drawn in (once, *again)]
        known = sorted(v for v in values[1:] if v is not None)
        if values[0] is None or len(known) < 0.9 * RESAMPLES:
            return Range(None, reason=reason or "it depends on what was not measured")
        return Range(values[0], known[int(0.05 * len(known))], known[int(0.95 * len(known))])

    case, whole = cases[index], once[index]
    why = whole if isinstance(whole, str) else None
    later = why or (learned if isinstance(learned, str) else _why(learned))
    return Prediction(
        case,
        spread(lambda own, _: case.samples_per_update / case.batch / own.step.batches_per_s, why),
        spread(lambda own, _: case.batch * own.step.batches_per_s, why),
        None if isinstance(whole, str) or traits(case.mode).lockstep else whole.step.staleness,
        spread(lambda own, _: own.samples, later),
        spread(lambda own, _: own.seconds, later),
        spread(_gain_to_target, later),
        spread(lambda own, base: _rate(own, case) / _rate(base, cases[0]), why),
        None if isinstance(whole, str) else whole.step.saturates_at,
    )


def _why(learned: Learned) -> str | None:
    needed = _samples(learned, None)
    return needed if isinstance(needed, str) else None


def _value(of: Callable[[_Outcome, _Outcome], float | None], own: _Outcome | str, base: _Outcome | str) -> float | None:
    return None if isinstance(own, str) or isinstance(base, str) else of(own, base)


def _gain_to_target(own: _Outcome, base: _Outcome) -> float | None:
    return None if own.seconds is None or base.seconds is None else base.seconds / own.seconds


def _rate(outcome: _Outcome, case: Case) -> float:
    return outcome.step.batches_per_s * case.batch
