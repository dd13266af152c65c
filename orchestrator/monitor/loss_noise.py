"""Noise of the loss around its baseline, from which the threshold of a spike follows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.monitor.loss_baseline import LossScale, median

Floats = npt.NDArray[np.float64]

SPIKE_SIGMAS = 4.25
"""Lowest threshold of a spike."""
SPIKE_RISK = 5e-5
"""Share of a run's ordinary steps, given the tail of its noise, that may be taken for spikes."""
LEAST_NOISE = 0.002
"""Noise below 0.2 % of the level counts as 0.2 %, so that a tiny wiggle is no spike."""
NORMAL = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""
TAIL_FROM = 2.0
"""Sigmas above which a step belongs to the upper tail."""
TAIL_EXCESS, TAIL_SHARE = 0.373, 0.0228
"""Mean excess over two sigma, and share of steps above it, of normal noise: the prior of the tail."""
TAIL_STEPS = 2048
"""Steps for which the tail is remembered."""


class LossNoise:
    """Standard deviation, skew and upper tail of the noise, learned from residuals every 64 steps.

    - *Sigma* is the standard deviation of residuals winsorised at 3 robust ones (median absolute deviation;
      Hampel 1974): spikes do not move it, and it errs by 5 % over 256 steps where the deviation alone errs
      by 7 %. It is kept twice, relative to the level over 256 steps and absolute over 64, and a residual is
      scored with the geometric mean of the two: in the fast fall at the start of a run relative noise grows
      and absolute noise shrinks. Measured on 64 real SGD runs: 14 false alarms with both, 44 with relative
      noise alone, 222 with absolute alone.
    - *Skew*: batches of few samples skew losses to the right, most of all on a linear scale. The power
      transformation `(ratio**power - 1) / power` makes the 10 % and 90 % quantiles symmetric (Hinkley 1975);
      `power` is shrunk towards 1/2 if the noise is too small to estimate it.
    - *Tail*: peaks over threshold (Siffer et al. 2017, SPOT) with an exponential tail: above two sigma the
      mean excess `e` and share `p` give the height `2 + e * log(p / risk)` that noise exceeds with
      probability `risk`.
    """

    def __init__(self, scale: LossScale) -> None:
        self._scale = scale
        self._residuals: deque[float] = deque(maxlen=512)
        self._rises: deque[float] = deque(maxlen=64)
        self._tail: deque[tuple[int, float]] = deque()
        self._outliers: deque[tuple[int, float]] = deque()
        self._steps = 0
        self._power = 1.0
        self.sigma = self._absolute = 0.0
        self.gate = math.inf
        """Residuals up to this one score less than `TAIL_FROM`; computing their scores is skipped."""
        self.threshold = math.inf
        """Score above which a step is a spike."""
        self.ready = False
        self.jitter = 0.0
        """Standard deviation over level in the last 256 steps, spikes winsorised."""
        self.correlation = 0.0
        """Strongest correlation of residuals one to three steps apart in the last 256 steps."""

    def score(self, residual: float, rise: float) -> float:
        """Sigmas that a step stands above its baseline; `rise` is the residual in units of the first loss."""
        relative = self._transform(residual) / self.sigma
        absolute = rise / self._absolute
        if relative <= 0 or absolute <= 0:
            return 0.0
        return min(math.sqrt(relative) * math.sqrt(absolute), relative / 0.85, absolute / 0.85)

    def learn(self, residuals: Sequence[float], rises: Sequence[float]) -> None:
        self._residuals.extend(residuals)
        self._rises.extend(rises)
        self._steps += len(residuals)
        if self._steps % 64 == 32:
            self._update()

    def learn_tail(self, score: float) -> None:
        if TAIL_FROM < score <= self.threshold:
            self._tail.append((self._steps, min(score, 20.0) - TAIL_FROM))

    def learn_outlier(self, score: float) -> None:
        """Record the start of a spike. It is not noise, unless spikes are frequent: then they shape the tail."""
        while self._tail and self._tail[-1][0] >= self._steps - 8:
            self._tail.pop()
        self._outliers.append((self._steps, min(score, 20.0) - TAIL_FROM))

    def _update(self) -> None:
        residuals = np.array(self._residuals)
        if not self._scale.signed:
            tenth = len(residuals) // 10
            ordered = np.sort(residuals)
            low, high = float(ordered[tenth]), float(ordered[-1 - tenth])
            power = (0.01 - 2 * (low + high)) / (0.02 + low * low + high * high)
            self._power = min(max(power, -0.5), 1.0)
        recent = residuals[-256:]
        ratios = recent if self._scale.signed else np.expm1(np.minimum(recent, 50.0))
        self.sigma = max(LEAST_NOISE, winsorised_std(self._transform_all(recent)))
        self.gate = self._inverse(0.85 * TAIL_FROM * self.sigma)
        self._absolute = max(1e-6 * LEAST_NOISE, winsorised_std(np.array(self._rises)))
        self.jitter = winsorised_std(ratios)
        self.correlation = strongest_correlation(recent)
        for tail_part in (self._tail, self._outliers):
            while tail_part and tail_part[0][0] < self._steps - TAIL_STEPS:
                tail_part.popleft()
        tail = [excess for _, excess in self._tail]
        if len(self._outliers) > TAIL_STEPS // 32:
            tail += [excess for _, excess in self._outliers]
        prior = 20.0
        excess = (sum(tail) + prior * TAIL_EXCESS) / (len(tail) + prior)
        share = (len(tail) + prior) / (min(self._steps, TAIL_STEPS) + prior / TAIL_SHARE)
        self.threshold = max(SPIKE_SIGMAS, TAIL_FROM + excess * math.log(share / SPIKE_RISK))
        self.ready = True

    def _transform(self, residual: float) -> float:
        if self._scale.signed or abs(self._power) < 1e-3:
            return residual
        return math.expm1(self._power * max(min(residual, 50.0), -50.0)) / self._power

    def _inverse(self, transformed: float) -> float:
        if self._scale.signed or abs(self._power) < 1e-3:
            return transformed
        inner = self._power * transformed
        return math.log1p(inner) / self._power if inner > -1 else math.inf

    def _transform_all(self, residuals: Floats) -> Floats:
        if self._scale.signed or abs(self._power) < 1e-3:
            return residuals
        return np.expm1(self._power * np.clip(residuals, -50.0, 50.0)) / self._power


class LevelNoise:
    """Standard deviation of block medians, from second differences: free of the trend, slow noise included."""

    def __init__(self) -> None:
        self._medians: deque[float] = deque(maxlen=3)
        self._differences: deque[float] = deque(maxlen=64)
        self._seen = 0
        self.sigma: float | None = None

    def push(self, level: float) -> None:
        self._medians.append(level)
        if len(self._medians) < 3:
            return
        first, second, third = self._medians
        self._differences.append(abs(first - 2 * second + third))
        self._seen += 1
        if self._seen % 8 == 4:
            self.sigma = max(LEAST_NOISE / 2, NORMAL * median(self._differences) / math.sqrt(6))


def winsorised(deviations: Floats) -> Floats:
    """The deviations, clipped at 3 robust standard deviations from 0."""
    limit = 3 * NORMAL * float(np.sort(np.abs(deviations))[len(deviations) // 2])
    return np.clip(deviations, -limit, limit)


def winsorised_std(deviations: Floats) -> float:
    """Standard deviation about 0; the factor 1.01 corrects for winsorising normal noise."""
    clipped = winsorised(deviations)
    return 1.01 * math.sqrt(float(np.mean(clipped * clipped)))


def strongest_correlation(series: Floats) -> float:
    """The correlation, at a lag of one to three steps, that is largest in absolute value."""
    series = winsorised(series)
    squares = float(np.sum(series * series))
    if not squares:
        return 0.0
    found = [float(np.sum(series[lag:] * series[:-lag])) / squares for lag in (1, 2, 3)]
    return max(found, key=abs)
