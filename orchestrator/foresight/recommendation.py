"""What predictions recommend: a mode and number of workers, or one process; and where that would change. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from orchestrator.foresight.costs import Evidence, costs
from orchestrator.foresight.prediction import Prediction, Range
from orchestrator.foresight.step_time import FORMULAS
from orchestrator.plan.cost import cost
from orchestrator.plan.topology import all_plans
from orchestrator.spec.run import RunSpec
from orchestrator.text import plural
from workers.modes.registry import traits

_NEARLY_BEST = 1.03
"""Fewer workers are recommended if they take at most this many times as long as the best."""
_SLOWEST = 10.0


def price(spec: RunSpec, found: Prediction) -> float | None:
    """Dollars until the target is met."""
    run = spec.model_copy(update={"mode": found.case.mode, "workers": found.case.workers})
    return cost(spec.price, all_plans(run), found.seconds_to_target.value)


def recommend(spec: RunSpec, predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """The mode and number of workers with the largest gain, or one process; None if nothing distributed is predicted.

    Gains are in time to the target; in samples per second, which `by` says, where that is not predicted. A distributed
    mode has to be faster than one process with its whole interval; fewer workers win a near tie.
    """
    others = [p for p in predictions if not traits(p.case.mode).alone and p.case.workers > 1]
    by_target = any(p.gain.value is not None for p in others)

    def gain(found: Prediction) -> Range:
        return found.gain if by_target else found.speedup

    known = [(value, p) for p in others if (value := gain(p).value) is not None]
    if not known:
        return None
    most, best = max(known, key=lambda entry: entry[0])
    near = [(value, p) for value, p in known if value * _NEARLY_BEST >= most]
    fewest = min(near, key=lambda entry: (entry[1].case.workers, -entry[0]))[1]
    worth = (gain(fewest).low or 0.0) > 1
    chosen = fewest if worth else predictions[0]
    return {
        "by": "time to the target" if by_target else "samples per second",
        "distribute": worth,
        "mode": chosen.case.mode,
        "workers": chosen.case.workers,
        "samples_per_update": chosen.case.samples_per_update,
        "gain": dataclasses.asdict(gain(chosen)),
        "cost": price(spec, chosen),
        "nearest": None if worth else {"mode": best.case.mode, "workers": best.case.workers, "gain": most},
        "learning_rate": "unchanged; samples to the target were measured so. --lr-scaling sqrt (Adam) or linear (SGD) "
        "may help updates of more samples.",
    }


def tips(seen: Evidence, predictions: Sequence[Prediction], batch: int) -> list[str]:
    """Where the recommendation would change."""
    limits = {p.case.mode: max(1, round(p.saturates_at)) for p in predictions if p.saturates_at}
    found = []
    for limit in sorted(set(limits.values())):
        named = ", ".join(mode for mode, most in limits.items() if most == limit)
        most = plural(limit, "worker")
        found.append(f"{named}: with more than about {most} the cores, which all tasks share, are the limit")
    modes = dict.fromkeys(p.case.mode for p in predictions)
    factor = _tipping_slowness(seen, [*modes], batch)
    if factor is not None:
        found.append(factor)
    return found


def _tipping_slowness(seen: Evidence, modes: Sequence[str], batch: int) -> str | None:
    """From how slow a slowest host on modes that do not wait process more samples, with two workers."""
    rates: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    for mode in modes:
        own, row = costs(mode, seen, batch), traits(mode)
        if row.waits_for in ("workers", "servers") and not isinstance(own, str):
            rates[row.lockstep][mode] = (own, FORMULAS[row.waits_for])
    if not rates[True] or not rates[False]:
        return None

    def best(lockstep: bool, slower: float) -> tuple[float, str]:
        return max(
            (formula(own, seen.where(mode, 2, batch, slower)).batches_per_s, mode)
            for mode, (own, formula) in rates[lockstep].items()
        )

    for slower in [1 + 0.1 * step for step in range(int((_SLOWEST - 1) * 10) + 1)]:
        (bound, waiting), (free, other) = best(True, slower), best(False, slower)
        if free > bound:
            when = "always" if slower == 1 else f"once one of two hosts is {slower:.1f} times slower than the other"
            return f"{other} processes more samples per second than {waiting} {when}"
    return f"{waiting} processes more samples per second than {other} even beside a host {_SLOWEST:g} times slower"
