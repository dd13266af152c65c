"""Time to an event that some runs did not reach. Such runs are censored or counted, never dropped. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def kaplan_meier(times: Sequence[float], observed: Sequence[bool]) -> list[tuple[float, float]]:
    """Share of runs without the event just after each event time: S(t) = prod (1 - d_i / n_i).

    `observed[i]` says whether run i had the event at `times[i]`, or was last observed without it then (censored).
    A run censored at an event's time counts as at risk there. Assumes that censoring is independent of when the
    event would have come: true if a user interrupts a run, not if it has used all its samples (`restricted_mean`).
    Empty without an event (S stays 1). Raises ValueError for a time that is not finite or below 0.
    Source: Kaplan & Meier (1958), JASA 53.
    """
    pairs = list(zip(times, observed, strict=True))
    if not all(math.isfinite(t) and t >= 0 for t in times):
        raise ValueError("survival times must be finite and not below 0")
    curve: list[tuple[float, float]] = []
    survival = 1.0
    for time in sorted({t for t, had_event in pairs if had_event}):
        events = sum(had_event and t == time for t, had_event in pairs)
        survival *= 1 - events / sum(t >= time for t, _ in pairs)
        curve.append((time, survival))
    return curve


def restricted_mean(times: Sequence[float], observed: Sequence[bool], horizon: float) -> float | None:
    """Restricted mean time to the event, E[min(T, horizon)]: the area under Kaplan-Meier up to the horizon.

    A run that used all its samples without the event is given as `times = horizon`, `observed = False`: it counts
    as the whole horizon, so that the mean is a lower bound of the true mean. Variants are comparable only under one
    horizon. If the last run is censored before the horizon, S keeps its value (Gill 1980), an upper bound.
    One run gives its own time. None without runs, or if the horizon is not above 0.
    Source: Royston & Parmar (2013), BMC Medical Research Methodology 13:152.
    """
    if not times or not (math.isfinite(horizon) and horizon > 0):
        return None
    area, before, survival = 0.0, 0.0, 1.0
    for time, after in kaplan_meier(times, observed):
        if time >= horizon:
            break
        area += survival * (time - before)
        before, survival = time, after
    return area + survival * (horizon - before)
