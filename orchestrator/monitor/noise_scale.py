"""The gradient noise scale: the batch size beyond which samples are wasted.

McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training" (2018), appendix A.1. The
expected square norm of a gradient averaged over B samples is `|G|^2 + tr(S) / B`: that of the true gradient
plus the noise of the samples. Two batch sizes give two equations:

    signal  |G|^2 = (B_big * big - B_small * small) / (B_big - B_small)
    noise  tr(S)  = (small - big) / (1 / B_small - 1 / B_big)

and the simple noise scale is `tr(S) / |G|^2`, in samples: a much smaller batch is mostly noise, a much
larger one wastes samples. Synchronous training has both for free: the gradient of each worker before the
all-reduce is that of the small batch, their mean after it that of the big one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FEWEST_STEPS = 100
"""Steps before which there is no estimate."""


@dataclass(frozen=True)
class NoiseScale:
    signal: float
    """Square norm of the true gradient."""
    noise: float
    """Trace of the covariance of one sample's gradient."""
    batch: float
    """Simple noise scale, `noise / signal`, in samples."""


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
    """Estimates the noise scale over all steps of a run from the means of each call.

    Calls with a norm that is not finite are left out: mixed precision has some by design.
    """

    def __init__(self) -> None:
        self._batches: tuple[int, int] | None = None
        self._small = self._big = 0.0
        self.steps = 0

    def begin(self, small_batch: int, big_batch: int) -> None:
        """Set the batch sizes of one worker and of all workers together; start over if they have changed."""
        if self._batches != (small_batch, big_batch):
            self._batches = small_batch, big_batch
            self._small, self._big, self.steps = 0.0, 0.0, 0

    def add(self, small: float, big: float, steps: int) -> None:
        """Add mean square norms over this many steps."""
        if math.isfinite(small) and math.isfinite(big):
            self._small += small * steps
            self._big += big * steps
            self.steps += steps

    @property
    def value(self) -> NoiseScale | None:
        """The noise scale; None before a hundred steps, and if both batch sizes are equal."""
        if self._batches is None or self._batches[0] >= self._batches[1] or self.steps < FEWEST_STEPS:
            return None
        return simple_noise_scale(self._small / self.steps, self._big / self.steps, *self._batches)
