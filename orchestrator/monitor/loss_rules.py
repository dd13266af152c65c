"""Rules on the level of the training loss: divergence, plateau, oscillation."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import islice

from orchestrator.monitor.advice import finding
from orchestrator.monitor.loss_baseline import BLOCK, Baseline, Block, LossHistory, LossScale
from orchestrator.monitor.loss_noise import LevelNoise, LossNoise
from orchestrator.monitor.loss_spikes import SpikeRule
from orchestrator.monitor.overfitting import Level
from orchestrator.results import Finding

DIVERGENCE_RISE = 0.3
"""Smallest rise of the level, as a share of it, that is a divergence."""
LEAST_DIVERGENCE = 0.04
"""Smallest rise of the level, as a share of the run's first one, that is a divergence: less changes nothing."""
PLATEAU_STEPS = 500
"""Fewest steps over which a plateau is judged."""
PLATEAU_FALL = 0.02
"""Largest fall over a plateau, as a share of the level."""
CONVERGED_FALL = 0.5
"""A loss that fell by more than this share since the start has converged; it is not on a plateau."""
WILD_JITTER = 0.8
"""Jitter above which the loss oscillates, whatever its correlation."""
SWING_STEPS = 1024
"""Steps after which an oscillation that has calmed down has ended."""


class LossRules:
    """All rules on the training loss."""

    def __init__(self, scale: LossScale) -> None:
        self.scale = scale
        self._history = LossHistory()
        self._baseline = Baseline()
        self._level_noise = LevelNoise()
        noise = LossNoise(scale)
        self.spikes = SpikeRule(scale, noise)
        self._divergence = DivergenceRule(scale, self._level_noise)
        self._plateau = PlateauRule(scale, self._history)
        self._oscillation = OscillationRule(scale, noise)
        self._swings_until = 0

    def on_block(self, block: Block) -> Iterator[Finding]:
        self._history.push(block)
        self._level_noise.push(block.median)
        found = [self._divergence.on_block(block)]
        if not self._divergence.is_open:
            found += [self._plateau.on_block(block), self._oscillation.on_block(block)]
        yield from (one for one in found if one is not None and self._is_new(one))
        detrended = self._baseline.push(block)
        if detrended is not None:
            yield from self.spikes.on_block(detrended)

    def _is_new(self, found: Finding) -> bool:
        """Whether the finding is no repetition: two rules find oscillations, and within 2,048 steps it is the same."""
        if found.kind != "oscillation":
            return True
        until, self._swings_until = self._swings_until, self._history.blocks + 2048 // BLOCK
        return self._history.blocks > until

    def flush(self, rest: Block | None) -> Iterator[Finding]:
        for detrended in self._baseline.flush(rest):
            yield from self.spikes.on_block(detrended)
        yield from self.spikes.flush()

    def training_level(self, step: int) -> Level | None:
        """Mean training loss of the 256 steps up to `step`, for the overfitting rule; None if there are too few."""
        blocks = 32
        judged = self._history.level_at(step, blocks)
        if judged is None or self._level_noise.sigma is None:
            return None
        return Level(self.scale.loss(judged), judged, self._level_noise.sigma / math.sqrt(blocks))


class DivergenceRule:
    """Divergence: the mean level of the last 32 steps is far above the lowest level of 48 to 128 steps ago.

    Far means by 30 % and by 9 standard errors of that mean, with every block of those 32 steps above half the
    rise, so that a long spike does not count. A loss that e-folds in 50 steps is found within 50. The episode
    ends when the level falls below half the rise. A loss that came back twice and rises again within 1,024
    steps swings rather than diverges: it is reported as one oscillation, until no episode has ended for 1,024 steps.
    """

    def __init__(self, scale: LossScale, noise: LevelNoise) -> None:
        self._scale, self._noise = scale, noise
        self._medians: deque[float] = deque(maxlen=4)
        self._levels: deque[float] = deque(maxlen=17)
        self._blocks = 0
        self._end: float | None = None
        """Level that ends the open episode; None if no episode is open."""
        self._returns: deque[int] = deque(maxlen=2)
        """Blocks at which the last two episodes ended."""
        self._swinging = False

    @property
    def is_open(self) -> bool:
        return self._end is not None

    def on_block(self, block: Block) -> Finding | None:
        self._blocks += 1
        self._medians.append(block.median)
        if len(self._medians) < 4:
            return None
        level = sum(self._medians) / 4
        self._levels.append(level)
        if self._end is not None:
            if level < self._end:
                self._end = None
                self._levels.clear()
                self._returns.append(self._blocks)
            return None
        if self._noise.sigma is None or len(self._levels) < 7:
            return None
        lowest = min(islice(self._levels, len(self._levels) - 6))
        error = self._noise.sigma / 2
        far = max(math.log1p(DIVERGENCE_RISE), 9 * error)
        if level - lowest < far or min(self._medians) < lowest + far / 2:
            return None
        before, now = self._scale.loss(lowest), self._scale.loss(level)
        if now - before < LEAST_DIVERGENCE * self._scale.unit:
            return None
        self._end = lowest + far / 2
        evidence = (
            f"{before:.4g} to {now:.4g} within {len(self._levels) * BLOCK} steps, "
            f"{(level - lowest) / error:.0f} standard errors, after {block.samples[-1]} samples"
        )
        return self._diverging(block, evidence)

    def _diverging(self, block: Block, evidence: str) -> Finding | None:
        recent = [at for at in self._returns if at > self._blocks - SWING_STEPS // BLOCK]
        self._swinging = self._swinging and bool(recent)
        if len(recent) < 2:
            symptom = "the loss is rising instead of falling"
            return finding("divergence", block.steps[-1], block.clock[-1], symptom, evidence)
        if self._swinging:
            return None
        self._swinging = True
        symptom = "the loss rises and falls repeatedly"
        return finding("oscillation", block.steps[-1], block.clock[-1], symptom, evidence)


class PlateauRule:
    """Plateau: the loss has not fallen by 2 % over the second half of the run, nor by half since its start.

    Tested every 128 steps, over at least 500, with a line through the level: the fall plus two standard
    errors must be under 2 %, so a noisy loss needs more steps before it counts as flat. A loss that stays
    level after it fell by more than half has converged as far as this detector can know, and is not
    reported. The episode ends when the loss falls 5 % below the level of the plateau.
    """

    def __init__(self, scale: LossScale, history: LossHistory) -> None:
        self._scale, self._history = scale, history
        self._first: float | None = None
        self._stuck_at: float | None = None
        self._quiet_until = 0

    def on_block(self, block: Block) -> Finding | None:
        history = self._history
        if self._first is None:
            self._first = block.median
        if history.blocks % 16 or not history.levels:
            return None
        if self._stuck_at is not None:
            if history.levels[-1] < self._stuck_at - 0.05:
                self._stuck_at = None
                self._quiet_until = history.blocks * 2  # until this plateau lies in the first half
            return None
        count = max(len(history.levels) // 2, math.ceil(PLATEAU_STEPS / (history.stride * BLOCK)))
        if len(history.levels) < max(count, 8) or history.blocks < self._quiet_until:
            return None
        levels = history.levels[-count:]
        fall, error = line_fall(levels)
        mean = sum(levels) / count
        first, now = self._scale.loss(self._first), self._scale.loss(mean)
        if fall + 2 * error > PLATEAU_FALL or fall < -0.2:
            return None
        if first - now > CONVERGED_FALL * abs(first):
            return None
        if not self._scale.signed and now < (1 - CONVERGED_FALL) * self._scale.unit:  # fell before training resumed
            return None
        self._stuck_at = mean
        over = count * history.stride * BLOCK
        return finding(
            "plateau",
            block.steps[-1],
            block.clock[-1],
            "the loss is not falling",
            f"changed by {-fall:+.1%} (error {error:.1%}) over the last {over} steps; {now:.4g} now, "
            f"{first:.4g} at the start, after {block.samples[-1]} samples",
        )


class OscillationRule:
    """Oscillation: swings from step to step that batch noise does not explain, above a tenth of the first loss.

    For 256 steps, the jitter (standard deviation over level, last 256 steps) has been over 0.8; or over 0.15
    with residuals that repeat or alternate, that is with a correlation above 0.7 in absolute value at a lag of
    one to three steps. Batches drawn at random have none; stale updates have a few tenths. Swings slower than
    about 64 steps are left to `DivergenceRule`.
    """

    def __init__(self, scale: LossScale, noise: LossNoise) -> None:
        self._scale, self._noise = scale, noise
        self._wild, self._calm = 0, 0
        self._open = False

    def on_block(self, block: Block) -> Finding | None:
        noise = self._noise
        periodic = noise.jitter > 0.15 and abs(noise.correlation) > 0.7
        if not (periodic or noise.jitter > WILD_JITTER) or not self._matters(block):
            self._wild = 0
            self._calm += 1
            self._open = self._open and self._calm < SWING_STEPS // BLOCK
            return None
        self._calm = 0
        self._wild += 1
        if self._open or self._wild < 256 // BLOCK:
            return None
        self._open = True
        return finding(
            "oscillation",
            block.steps[-1],
            block.clock[-1],
            "the loss swings from step to step",
            f"jitter {noise.jitter:.2f} (standard deviation over level), correlation of nearby steps "
            f"{noise.correlation:+.2f}, around {self._scale.loss(block.median):.4g}",
        )

    def _matters(self, block: Block) -> bool:
        return self._scale.signed or self._scale.loss(block.median) > 0.1 * self._scale.unit


def line_fall(levels: list[float]) -> tuple[float, float]:
    """Fall of the least-squares line through the levels over their whole length, and its standard error."""
    count = len(levels)
    middle, mean = (count - 1) / 2, sum(levels) / count
    spread = count * (count**2 - 1) / 12
    slope = sum((i - middle) * level for i, level in enumerate(levels)) / spread
    squares = sum((level - mean - slope * (i - middle)) ** 2 for i, level in enumerate(levels))
    return -slope * count, count * math.sqrt(max(squares, 0.0) / (count - 2) / spread)
