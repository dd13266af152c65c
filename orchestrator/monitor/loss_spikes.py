"""Spikes: the loss jumps, and comes back."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.monitor.advice import finding
from orchestrator.monitor.loss_baseline import LEAST_RISE, Block, Detrended, LossScale
from orchestrator.monitor.loss_noise import LossNoise
from orchestrator.results import Finding

GAP = 16
"""Largest number of steps between two excursions of one spike."""


class SpikeRule:
    """Spike: steps whose score exceeds the threshold, compared with the losses before *and* after them.

    The score is a robust z-score (see `LossNoise`). The threshold is 4.25 sigma, or the score that noise with
    this run's tail exceeds once in 20,000 steps, whichever is higher. The rise must be 0.3 % of the first loss,
    and three quarters of it must remain above the extended past and above the lowest level that follows, so
    that a learning-rate step or a lasting rise is no spike. Steps are judged 24 to 32 steps late, the first 32 never.
    """

    def __init__(self, scale: LossScale, noise: LossNoise) -> None:
        self._scale, self._noise = scale, noise
        self._waiting: list[tuple[Detrended, list[float]]] = []
        self._open: _Spike | None = None
        self._quiet = 0
        self._squares, self._levels, self._seen = 0.0, 0.0, 0

    @property
    def jitter(self) -> float | None:
        """Standard deviation of the residuals of all steps so far over their level; None until it is known."""
        if not self._seen or not self._noise.ready:
            return None
        deviation = math.sqrt(self._squares / self._seen)
        if not self._scale.signed:
            return deviation
        return deviation / (self._levels / self._seen) if self._levels else None

    def on_block(self, detrended: Detrended) -> Iterator[Finding]:
        rises = self._scale.rises(detrended.block.losses, detrended.line)
        self._waiting.append((detrended, rises))
        ready = self._noise.ready
        if ready:
            yield from self._judge_waiting()
        self._noise.learn(detrended.residuals, rises)
        if not ready and self._noise.ready:
            yield from self._judge_waiting()
        self._squares += sum(r * r for r in detrended.residuals)
        self._levels += sum(map(abs, detrended.block.judged)) if self._scale.signed else 0.0
        self._seen += len(rises)

    def flush(self) -> Iterator[Finding]:
        yield from self._close()

    def _judge_waiting(self) -> Iterator[Finding]:
        waiting, self._waiting = self._waiting, []
        for detrended, rises in waiting:
            yield from self._judge(detrended, rises)

    def _judge(self, detrended: Detrended, rises: list[float]) -> Iterator[Finding]:
        block, noise, gate = detrended.block, self._noise, self._noise.gate
        for i, residual in enumerate(detrended.residuals):
            self._quiet += 1
            score = noise.score(residual, rises[i]) if residual > gate else 0.0
            if score > noise.threshold and self._stands_out(detrended, i, score):
                if self._quiet > GAP:
                    yield from self._close()
                    noise.learn_outlier(score)
                self._quiet = 0
                if rises[i] > LEAST_RISE:
                    self._extend(block, i, score, detrended.line[i])
            elif self._quiet > GAP and score > 0:
                noise.learn_tail(score)
        if self._quiet > GAP:
            yield from self._close()

    def _stands_out(self, detrended: Detrended, i: int, score: float) -> bool:
        excess = detrended.excess(i)
        if excess <= 0:
            return False
        level = detrended.block.judged[i] - excess
        (rise,) = self._scale.rises(detrended.block.losses[i : i + 1], [level])
        return self._noise.score(excess, rise) > 0.75 * min(score, self._noise.threshold)

    def _extend(self, block: Block, i: int, score: float, level: float) -> None:
        step = block.steps[i]
        if self._open is None:
            self._open = _Spike(first=step)
        spike = self._open
        spike.steps += 1
        if score > spike.score:
            spike.score, spike.step, spike.clock = score, step, block.clock[i]
            spike.loss, spike.level = block.losses[i], self._scale.loss(level)

    def _close(self) -> Iterator[Finding]:
        spike, self._open = self._open, None
        if spike is not None:
            length = f"; {spike.steps} steps above the threshold from step {spike.first}" if spike.steps > 1 else ""
            yield finding(
                "spike",
                spike.step,
                spike.clock,
                f"the loss jumped to {spike.loss:.4g} at step {spike.step} and came back",
                f"{spike.score:.1f} sigma above its level of {spike.level:.4g} (threshold "
                f"{self._noise.threshold:.1f}){length}",
            )


class _Spike:
    def __init__(self, first: int) -> None:
        self.first = self.step = first
        self.steps = 0
        self.clock = self.score = self.loss = self.level = 0.0
