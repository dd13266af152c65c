"""Samples to a target, by samples per update and staleness. Pure.

McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training" (arXiv 1812.06162), 2.3 and eq. 2.11: at
learning rates that suit the batch size, training with batches of B samples takes

    E(B) = E_min (1 + B / B_noise) samples,      S(B) = S_min (1 + B_noise / B) updates

with the gradient noise scale B_noise (`orchestrator.monitor.noise_scale`). At a learning rate that does not follow the
batch size, larger batches take more samples than that: where runs with two batch sizes reached the target, B_noise is
fitted to them instead. Updates from stale gradients take more samples, and so do workers that part for a round of
steps; how many more depends on mode, job and optimizer, so that this penalty is fitted too, never assumed:

    E(B, s) = E(B) (1 + c s)     for a mean staleness of s updates, or for s other workers to part from
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Reached:
    """Samples that one run took to a target."""

    samples: float
    batch: int
    """Samples of each update."""
    staleness: float = 0.0
    """Mean number of updates between a read of the weights and the update, or the workers that it parts from."""
    mode: str = ""


@dataclass(frozen=True)
class SamplesToTarget:
    """E(B, s), fitted."""

    fewest: float
    """E_min: what very small batches would take."""
    noise: float | None
    """B_noise in samples, fitted or measured; None if neither."""
    batch: int
    """Smallest samples per update of the runs that `fewest` was fitted to."""
    penalties: Mapping[str, float]
    """c by mode: further samples per update of staleness, as a share; of those whose runs reached the target."""

    def at(self, batch: int, staleness: float = 0.0, mode: str = "") -> float | None:
        """Samples to the target; None if the noise scale or the penalty that it needs was not measured."""
        if (self.noise is None and batch != self.batch) or (staleness > 0 and mode not in self.penalties):
            return None
        return self.fewest * growth(batch, self.noise) * (1 + self.penalties.get(mode, 0.0) * staleness)


def growth(batch: float, noise: float | None) -> float:
    """E(B) / E_min; 1 without a noise scale."""
    return 1.0 if noise is None else 1 + batch / noise


def fit(runs: Sequence[Reached], noise: float | None) -> SamplesToTarget | None:
    """Fit E_min, and B_noise if possible, to the runs without staleness (geometric means), and c to each other mode.

    `noise` is the measured noise scale, used where all runs had one batch size. A penalty below 0 counts as 0: fewer
    samples with staleness than without are luck. None if no run without staleness reached the target.
    """
    by_batch: dict[int, list[float]] = {}
    for run in runs:
        if run.staleness == 0:
            by_batch.setdefault(run.batch, []).append(math.log(run.samples))
    if not by_batch:
        return None
    means = {batch: fmean(logs) for batch, logs in by_batch.items()}
    if len(means) > 1:
        small, large = min(means), max(means)
        noise = _fitted_noise(small, large, math.exp(means[large] - means[small]))
    fewest = math.exp(fmean(mean - math.log(growth(batch, noise)) for batch, mean in means.items()))
    stale = [run for run in runs if run.staleness > 0 and (noise is not None or run.batch in means)]
    excess: dict[str, list[float]] = {}
    for run in stale:
        more = run.samples / (fewest * growth(run.batch, noise)) - 1
        excess.setdefault(run.mode, []).append(more / run.staleness)
    penalties = {mode: max(0.0, fmean(found)) for mode, found in excess.items()}
    return SamplesToTarget(fewest, noise, min(means), penalties)


def _fitted_noise(small: int, large: int, ratio: float) -> float:
    """B_noise at which E(large) / E(small) is `ratio`, which lies between 1 (infinite) and large / small (0)."""
    ratio = min(max(ratio, 1.001), 0.999 * large / small)
    return (large - ratio * small) / (ratio - 1)
