"""The gradient noise scale: how large a batch still pays.

McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training" (2018), appendix A.1. The
square norm of a gradient averaged over B samples is, in the mean, `|G|^2 + tr(S) / B`: the true gradient's
plus the noise of the samples. Two batch sizes give two equations:

    signal  |G|^2 = (B_big * big - B_small * small) / (B_big - B_small)
    noise  tr(S)  = (small - big) / (1 / B_small - 1 / B_big)

and the simple noise scale is `tr(S) / |G|^2`, in samples: a batch much smaller is mostly noise, one much
larger wastes samples. In synchronous training both come for free: each worker's gradient before the
all-reduce is the small batch, their mean after it the big one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_STEPS = 100


@dataclass(frozen=True)
class NoiseScale:
    signal: float
    """Square norm of the true gradient."""
    noise: float
    """Trace of the covariance of one sample's gradient."""
    batch: float
    """Simple noise scale: their ratio, in samples."""


def simple_noise_scale(small: npt.ArrayLike, big: npt.ArrayLike, small_batch: int, big_batch: int) -> NoiseScale | None:
    """Square norms of gradients over `small_batch` and over `big_batch` samples, any number of each.

    Signal and noise are averaged over all steps given before the ratio is taken, because one step's ratio is
    biased and wild (same appendix); a hundred steps are a good start. None where that is still too few: a
    signal or noise that comes out negative, or norms that are not finite. Raises ValueError unless
    small_batch < big_batch.
    """
    if not 0 < small_batch < big_batch:
        raise ValueError(f"need 0 < small_batch < big_batch, not {small_batch} and {big_batch}")
    small_norm = _mean(small)
    big_norm = _mean(big)
    if small_norm is None or big_norm is None:
        return None
    signal = (big_batch * big_norm - small_batch * small_norm) / (big_batch - small_batch)
    noise = (small_norm - big_norm) / (1 / small_batch - 1 / big_batch)
    if signal <= 0 or noise < 0:
        return None
    return NoiseScale(signal, noise, noise / signal)


class NoiseScaleEstimate:
    """Over all steps of a run, as their means come in, call by call. Calls with a norm that is not finite are left out:
    mixed precision has them now and then."""

    def __init__(self) -> None:
        self._batches: tuple[int, int] | None = None
        self._small = self._big = 0.0
        self.steps = 0

    def begin(self, small_batch: int, big_batch: int) -> None:
        """Samples of a worker's batch, and of all workers' together. With others than before it begins anew."""
        if self._batches != (small_batch, big_batch):
            self._batches = small_batch, big_batch
            self._small, self._big, self.steps = 0.0, 0.0, 0

    def add(self, small: float, big: float, steps: int) -> None:
        """Mean square norms over so many steps."""
        if math.isfinite(small) and math.isfinite(big):
            self._small += small * steps
            self._big += big * steps
            self.steps += steps

    @property
    def value(self) -> NoiseScale | None:
        """None before a hundred steps, and where the batches are of one size."""
        if self._batches is None or self._batches[0] >= self._batches[1] or self.steps < FEWEST_STEPS:
            return None
        return simple_noise_scale([self._small / self.steps], [self._big / self.steps], *self._batches)


def _mean(squares: npt.ArrayLike) -> float | None:
    values = np.asarray(squares, dtype=np.float64).ravel()
    return float(np.mean(values)) if values.size and np.isfinite(values).all() else None
