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

FEWEST_STEPS = 100


@dataclass(frozen=True)
class NoiseScale:
    signal: float
    """Square norm of the true gradient."""
    noise: float
    """Trace of the covariance of one sample's gradient."""
    batch: float
    """Simple noise scale: their ratio, in samples."""


def simple_noise_scale(small: float, big: float, small_batch: int, big_batch: int) -> NoiseScale | None:
    """The noise scale from mean square norms of gradients over `small_batch` and over `big_batch` samples.

    The means are taken over many steps before the ratio, because one step's ratio is biased and wild (same
    appendix); a hundred steps are a good start. None if signal or noise comes out negative: too few steps.
    """
    signal = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    noise = (small - big) / (1 / small_batch - 1 / big_batch)
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
        return simple_noise_scale(self._small / self.steps, self._big / self.steps, *self._batches)
