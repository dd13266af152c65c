"""Blocks of steps, the scale on which losses are compared, and the baseline that a loss without noise would follow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import NamedTuple

BLOCK = 8
"""Steps per block. Blocks are counted from the first finite loss, however the caller cuts the stream."""
PAST, LEAST_PAST, FUTURE = 8, 4, 3
"""Numbers of blocks before (64 steps; 32 at the start of a run) and after (24 steps) a block that give its baseline."""

LEAST_RISE = 0.003
"""A spike or divergence raises the loss by at least this share of its first level."""
ENTRIES = 256
"""Longest history of levels."""
FAR = 1e100
"""Limit of judged losses, in units of the first block's level, so that squares stay finite."""

_AT = [(i - (BLOCK - 1) / 2) / BLOCK for i in range(BLOCK)]
"""Positions of a block's steps relative to its middle, in blocks."""
_WEIGHTS = [[12 * (i - (n - 1) / 2) / max(1, n**3 - n) for i in range(n)] for n in range(PAST + 1)]
"""Weights of n levels; the weighted sum of the levels is the slope of their least-squares line."""


@dataclass(frozen=True)
class LossScale:
    """Scale on which losses are compared by ratio, because noise and rises are proportional to the loss.

    `log(loss + unit / 1000)`, where `unit` is the level of the first block: near 0 the scale is linear, where
    a logarithm alone would explode. A loss that goes below 0 (a likelihood, an ELBO) has no level to compare
    with, so its scale is `loss / unit`. Both are clamped at 1e100 units, so that squares stay finite.
    """

    unit: float
    signed: bool

    @classmethod
    def of(cls, first: Sequence[float], signed: bool) -> LossScale:
        return cls(max(median([abs(value) for value in first]), 1e-290), signed)

    @cached_property
    def _top(self) -> float:
        return min(math.log(self.unit) + math.log(FAR), 709.0)

    def judge(self, losses: Sequence[float]) -> list[float]:
        """The losses on this scale."""
        if self.signed:
            return _clamped([loss / self.unit for loss in losses], FAR)
        log, shift = math.log, 1e-3 * self.unit
        return _clamped([log((loss if loss > 0 else 0.0) + shift) for loss in losses], self._top)

    def loss(self, judged: float) -> float:
        """The loss at a point of this scale."""
        if self.signed:
            return judged * self.unit
        return math.exp(min(judged, self._top)) - 1e-3 * self.unit

    def rises(self, losses: Sequence[float], levels: list[float]) -> list[float]:
        """Differences between losses and judged levels, in units of the first loss."""
        if self.signed:
            return _clamped([a / self.unit - b for a, b in zip(losses, levels, strict=True)], FAR)
        exp, shift, unit = math.exp, 1e-3 * self.unit, self.unit
        levels = [exp(level) for level in _clamped(levels, self._top)]
        rises = [((a if a > 0 else 0.0) + shift - b) / unit for a, b in zip(losses, levels, strict=True)]
        return _clamped(rises, FAR)

    def is_negative(self, loss: float) -> bool:
        """Whether the loss is below 0 by more than rounding."""
        return loss < -1e-3 * self.unit


class Block(NamedTuple):
    """Finite losses of consecutive steps; the last block of a run may be short."""

    steps: Sequence[int]
    samples: Sequence[int]
    clock: Sequence[float]
    losses: Sequence[float]
    judged: Sequence[float]
    """The losses on their `LossScale`."""
    median: float
    """Median of `judged`."""


class Detrended(NamedTuple):
    """A block and its baseline."""

    block: Block
    line: list[float]
    """Judged loss of each step on the line between the levels before and after."""
    residuals: Sequence[float]
    """Distance of each step from that line."""
    ahead: float
    """Line through the past, extended to the middle of the block."""
    slope: float
    """Slope of that line, per block."""
    lowest_after: float
    """Lowest level that follows."""

    def excess(self, i: int) -> float:
        """Distance of step `i` above the highest of `line`, the extended past, and the lowest level that follows."""
        past = self.ahead + self.slope * _AT[i]
        return self.block.judged[i] - max(self.line[i], past, self.lowest_after)


class Baseline:
    """Computes a local baseline for each block, `FUTURE` blocks behind the stream.

    The level before is a line through the medians of the last 8 blocks, the level after is the median of the
    next 3. A loss whose fall slows down lies below the line between the two; a loss about to drop (a
    learning-rate step) follows its past; a loss that rose for good follows its future. A step above all
    three is a spike. The first 4 blocks have too little past and are never judged.
    """

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque(maxlen=PAST + 1 + FUTURE)

    def push(self, block: Block) -> Detrended | None:
        self._blocks.append(block)
        at = len(self._blocks) - 1 - FUTURE
        return self._detrend(at) if at >= LEAST_PAST else None

    def flush(self, rest: Block | None) -> list[Detrended]:
        """The remaining blocks, judged with fewer than `FUTURE` blocks after them."""
        waiting = min(FUTURE, len(self._blocks) - LEAST_PAST)
        if rest is not None:
            self._blocks.append(rest)
            waiting += 1
        count = len(self._blocks)
        return [self._detrend(at) for at in range(max(LEAST_PAST, count - waiting), count)]

    def _detrend(self, at: int) -> Detrended:
        medians = [block.median for block in self._blocks]
        past, after = medians[max(0, at - PAST) : at], medians[at + 1 : at + 1 + FUTURE]
        count = len(past)
        slope = sum(map(mul, _WEIGHTS[count], past))
        ahead = sum(past) / count + slope * (count + 1) / 2  # the past, extended to this block's middle
        if after:
            before, later, lowest_after = sum(past[-3:]) / 3, median(after), min(after)
            middle, tilt = (before + later) / 2, (later - before) / 4
        else:
            lowest_after, middle, tilt = -math.inf, ahead, slope
        judged = self._blocks[at].judged
        line = [middle + tilt * x for x in _AT[: len(judged)]]
        residuals = [value - level for value, level in zip(judged, line, strict=True)]
        return Detrended(self._blocks[at], line, residuals, ahead, slope, lowest_after)


class LossHistory:
    """Loss levels of the whole run in at most 256 entries; when all are used, adjacent entries are merged."""

    def __init__(self) -> None:
        self.blocks = 0
        self.stride = 1
        """Blocks per entry."""
        self.levels: list[float] = []
        """Mean of the block medians of each entry."""
        self._ends: list[int] = []
        self._sum, self._count = 0.0, 0

    def push(self, block: Block) -> None:
        self.blocks += 1
        self._sum += block.median
        self._count += 1
        if self._count < self.stride:
            return
        self.levels.append(self._sum / self._count)
        self._ends.append(block.steps[-1])
        self._sum, self._count = 0.0, 0
        if len(self.levels) == ENTRIES:
            self.levels = [(a + b) / 2 for a, b in zip(self.levels[::2], self.levels[1::2], strict=True)]
            self._ends = self._ends[1::2]
            self.stride *= 2

    def level_at(self, step: int, blocks: int) -> float | None:
        """Mean judged loss over about the last `blocks` blocks up to `step`; None before the first entry.

        If step numbers went back (a restart from a snapshot), the newest entries count.
        """
        until = len(self._ends)
        while until and self._ends[until - 1] > step:
            until -= 1
        levels = self.levels[max(0, until - max(1, blocks // self.stride)) : until]
        return sum(levels) / len(levels) if levels else None


def _clamped(values: list[float], limit: float) -> list[float]:
    if max(values) <= limit and min(values) >= -FAR:
        return values
    return [min(max(value, -FAR), limit) for value in values]


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else ordered[middle - 1] / 2 + ordered[middle] / 2
