"""Rules on the level of the loss: it rises, it stands still, it swings."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import islice

from orchestrator.monitor.advice import finding
from orchestrator.monitor.loss_baseline import BLOCK, LEAST_RISE, Baseline, Block, LossHistory, LossScale
from orchestrator.monitor.loss_noise import LevelNoise, LossNoise
from orchestrator.monitor.loss_spikes import SpikeRule
from orchestrator.monitor.overfitting import Level
from orchestrator.results import Finding

DIVERGENCE_RISE = 0.3
PLATEAU_STEPS = 500
PLATEAU_FALL = 0.02
CONVERGED_FALL = 0.5
"""A loss that fell by more than this share since the start is never called stuck."""
WILD_JITTER = 0.8
SWING_STEPS = 1024
"""Steps within which a rise belongs to those before it."""


class LossRules:
    """All rules that follow the training loss; its first block gave them their scale."""

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
        yield from (one for one in found if one is not None and self._is_news(one))
        detrended = self._baseline.push(block)
        if detrended is not None:
            yield from self.spikes.on_block(detrended)

    def _is_news(self, found: Finding) -> bool:
        """Two rules find oscillations; within 2,048 steps it is the same one."""
        if found.kind != "oscillation":
            return True
        before, self._swings_until = self._swings_until, self._history.blocks + 2048 // BLOCK
        return self._history.blocks > before

    def flush(self, rest: Block | None) -> Iterator[Finding]:
        for detrended in self._baseline.flush(rest):
            yield from self.spikes.on_block(detrended)
        yield from self.spikes.flush()

    def training_level(self, step: int) -> Level | None:
        """The training loss up to a step, as the overfitting rule wants it."""
        blocks = 32
        judged = self._history.level_at(step, blocks)
        if judged is None or self._level_noise.sigma is None:
            return None
        return Level(self.scale.loss(judged), judged, self._level_noise.sigma / math.sqrt(blocks))


class DivergenceRule:
    """Sustained rise: the mean level of the last 32 steps is far above the lowest of 48 to 128 steps ago.

    Far is 30 % and 9 standard errors of that mean, and every block of those 32 steps is above half of it, so
    that a long spike does not count. A loss that e-folds in 50 steps is found within 50. The episode ends
    when the level is back below half the rise. A loss that came back twice and rises again within 1,024
    steps is swinging, not diverging: then the finding is an oscillation, and the last one until it has been
    calm for as long.
    """

    def __init__(self, scale: LossScale, noise: LevelNoise) -> None:
        self._scale, self._noise = scale, noise
        self._medians: deque[float] = deque(maxlen=4)
        self._levels: deque[float] = deque(maxlen=17)
        self._blocks = 0
        self._end: float | None = None
        """While an episode is open: the level that ends it."""
        self._returns: deque[int] = deque(maxlen=2)
        """When the last two episodes ended, in blocks."""
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
        if now - before < LEAST_RISE * self._scale.unit:
            return None
        self._end = lowest + far / 2
        evidence = (
            f"{before:.4g} to {now:.4g} within {len(self._levels) * BLOCK} steps, "
            f"{(level - lowest) / error:.0f} standard errors, after {block.samples[-1]} samples"
        )
        return self._diverging(block, evidence)

    def _diverging(self, block: Block, evidence: str) -> Finding | None:
        back = [at for at in self._returns if at > self._blocks - SWING_STEPS // BLOCK]
        self._swinging = self._swinging and bool(back)
        if len(back) < 2:
            symptom = "the loss rises instead of falling"
            return finding("divergence", block.steps[-1], block.clock[-1], symptom, evidence)
        if self._swinging:
            return None
        self._swinging = True
        symptom = "the loss rises and falls again and again"
        return finding("oscillation", block.steps[-1], block.clock[-1], symptom, evidence)


class PlateauRule:
    """Stuck: the loss has not fallen by 2 % over the second half of the run, nor by half since its start.

    Tested every 128 steps, over at least 500, with a line through the level: the fall plus two standard
    errors must be under 2 %, so a noisy loss needs longer before it can be called flat. A loss that stands
    still after it fell by more than half has converged as far as this detector can know, and is not
    reported. The episode ends when the loss falls 5 % below where it was stuck.
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
                self._quiet_until = history.blocks * 2  # until the second half has nothing of this one
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
    """Swings from step to step that batch noise does not explain, above a tenth of the first loss.

    The jitter (standard deviation over level, last 256 steps) has been over 0.8 for 256 steps; or over 0.15
    with residuals that repeat or alternate: a correlation beyond 0.7, either way, at a distance of one to
    three steps. Batches drawn at random have none; a few tenths where updates are stale. Swings slower than
    about 64 steps are `DivergenceRule`'s.
    """

    def __init__(self, scale: LossScale, noise: LossNoise) -> None:
        self._scale, self._noise = scale, noise
        self._wild, self._calm = 0, 0
        self._open = False

    def on_block(self, block: Block) -> Finding | None:
        noise = self._noise
        periodic = noise.jitter > 0.15 and abs(noise.memory) > 0.7
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
            f"{noise.memory:+.2f}, around {self._scale.loss(block.median):.4g}",
        )

    def _matters(self, block: Block) -> bool:
        return self._scale.signed or self._scale.loss(block.median) > 0.1 * self._scale.unit


def line_fall(levels: list[float]) -> tuple[float, float]:
    """How far the least-squares line through the levels falls over their length, and its standard error."""
    count = len(levels)
    middle, mean = (count - 1) / 2, sum(levels) / count
    spread = count * (count**2 - 1) / 12
    slope = sum((i - middle) * level for i, level in enumerate(levels)) / spread
    squares = sum((level - mean - slope * (i - middle)) ** 2 for i, level in enumerate(levels))
    return -slope * count, count * math.sqrt(max(squares, 0.0) / (count - 2) / spread)
