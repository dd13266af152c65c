"""Time to an event when not every run saw it: a target that a seed missed is counted, never dropped. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def kaplan_meier(times: Sequence[float], observed: Sequence[bool]) -> list[tuple[float, float]]:
    """Share of runs still without the event just after each event time: S(t) = prod (1 - d_i / n_i).

    `observed[i]` says that run i had the event at `times[i]`; else it was last seen without it then. A run
    censored at an event's time counts as at risk there. Assumes that censoring tells nothing about when the
    event would have come: true of a user's interrupt, not of a spent budget (see `restricted_mean`).
    No event: empty (S is 1 as far as anyone looked). A time that is not finite or below 0: ValueError.
    Source: Kaplan & Meier (1958), JASA 53.
    """
    pairs = list(zip(times, observed, strict=True))
    if not all(math.isfinite(t) and t >= 0 for t in times):
        raise ValueError("survival times must be finite and not below 0")
    curve: list[tuple[float, float]] = []
    survival = 1.0
    for time in sorted({t for t, seen in pairs if seen}):
        events = sum(seen and t == time for t, seen in pairs)
        survival *= 1 - events / sum(t >= time for t, _ in pairs)
        curve.append((time, survival))
    return curve


def restricted_mean(times: Sequence[float], observed: Sequence[bool], horizon: float) -> float | None:
    """Restricted mean time to the event, E[min(T, horizon)]: the area under Kaplan-Meier up to the horizon.

    Give a run that spent its budget without the event `times = horizon`, `observed = False`: it counts as the
    whole horizon, so the mean is a lower bound of the true mean. Variants are comparable only under one
    horizon. When the last run is censored before the horizon, S is held there (Gill 1980), an upper bound.
    One run gives its own time; no run, or a horizon not above 0: nothing.
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
