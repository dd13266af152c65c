"""The stability detector: finds what is wrong with the loss of a run, incrementally and in bounded memory.

| kind | rule | where |
|---|---|---|
| nan | a loss that is NaN or infinite, at once | here |
| spike | robust z-score over 4.25 on the detrended loss, which then comes back | `loss_spikes` |
| divergence | level of 32 steps 30 % and 9 standard errors above the lowest of 128 steps | `loss_rules` |
| plateau | under 2 % fall over half the run, under half since the start | `loss_rules` |
| oscillation | jitter over 0.8, correlated residuals, or a third rise that came back | `loss_rules` |
| overfitting | validation loss 5 % over its best three times, training loss falling | `overfitting` |

Each rule's docstring gives its thresholds and their source. There is one finding per episode, not per step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from orchestrator.monitor.advice import Kind, finding
from orchestrator.monitor.loss_baseline import BLOCK, Block, LossScale, median
from orchestrator.monitor.loss_rules import LossRules
from orchestrator.monitor.overfitting import OverfittingRule
from orchestrator.results import Finding

RECOVERED = 32
"""Number of consecutive finite steps that end an episode of NaN."""
FINDINGS_PER_KIND = 20
"""Most findings of one kind that are reported; the number of further ones is reported by `finish`."""


class StabilityDetector:
    """Judges the loss of one run in the order of arrival; `rewound` must be called after a restart or rollback.

    The findings do not depend on how the stream is cut into calls. Async steps may be numbered out of order:
    numbers only name steps in findings, the order of arrival is the time axis. No value of a float makes it
    raise. Its memory is bounded; a step costs about 3 microseconds.
    """

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()
        self._finished = False
        self._unit: LossScale | None = None
        """The scale of the run's first losses: small changes of a loss that has almost vanished do not matter."""
        self._overfitting = OverfittingRule()
        self._start()

    def rewound(self) -> tuple[Finding, ...]:
        """Start over: training resumes from an earlier state, whose loss may be higher than the latest.

        Returns the findings about the steps before that were not judged yet.
        """
        last = self._limited(self._rules.flush(self._block())) if self._rules else ()
        self._start()
        return last

    def _start(self) -> None:
        self._pending = _Columns([], [], [], [])
        self._rules: LossRules | None = None
        self._overfitting.rewound()
        self._last_finite: float | None = None
        self._finite_in_a_row = RECOVERED
        self._bad_evaluation = False

    @property
    def jitter(self) -> float | None:
        """Standard deviation of the detrended loss over its level, since the last `rewound`; None before 88 steps.

        The local baseline of `loss_baseline` is subtracted, so swings slower than about 64 steps do not count.
        """
        return self._rules.spikes.jitter if self._rules else None

    def observe(
        self, steps: npt.ArrayLike, samples: npt.ArrayLike, clock: npt.ArrayLike, losses: npt.ArrayLike
    ) -> tuple[Finding, ...]:
        """Judge the next steps, given as one-dimensional arrays; raises ValueError if their lengths differ."""
        loss = np.asarray(losses, dtype=np.float64)
        columns = _Columns(
            np.asarray(steps, dtype=np.int64).tolist(),
            np.asarray(samples, dtype=np.int64).tolist(),
            np.asarray(clock, dtype=np.float64).tolist(),
            loss.tolist(),
        )
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"arrays of different lengths: {[len(column) for column in columns]}")
        bad = np.flatnonzero(~np.isfinite(loss))
        return self._limited(self._observe(columns, bad.tolist()))

    def observe_evaluation(self, step: int, clock: float, val_loss: float) -> tuple[Finding, ...]:
        """Judge the validation loss of the snapshot taken at `step`; it may arrive after later steps."""
        return self._limited(self._evaluate(step, clock, val_loss))

    def finish(self) -> tuple[Finding, ...]:
        """Judge the last steps of the run, and report how many findings were left out."""
        if self._finished:
            return ()
        self._finished = True
        last = self._limited(self._rules.flush(self._block()) if self._rules else ())
        limit = FINDINGS_PER_KIND
        rest = ((kind, count - limit) for kind, count in sorted(self._found.items()) if count > limit)
        return last + tuple(
            finding(
                cast(Kind, kind),
                None,
                None,
                f"{count} more findings of kind {kind}",
                f"only the first {limit} are listed",
            )
            for kind, count in rest
        )

    def _limited(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        kept = []
        for found in findings:
            self._found[found.kind] += 1
            if self._found[found.kind] <= FINDINGS_PER_KIND:
                kept.append(found)
        return tuple(kept)

    def _observe(self, columns: _Columns, bad: list[int]) -> Iterator[Finding]:
        at = 0
        for stop in [*bad, len(columns.losses)]:
            yield from self._feed(columns.cut(at, stop))
            if stop < len(columns.losses):
                yield from self._bad_loss(columns.steps[stop], columns.clock[stop], columns.losses[stop])
            at = stop + 1

    def _feed(self, columns: _Columns) -> Iterator[Finding]:
        count = len(columns.losses)
        if not count:
            return
        self._finite_in_a_row += count
        self._last_finite = columns.losses[-1]
        at = 0
        while at < count:
            until = at + BLOCK - len(self._pending.losses)
            self._pending.extend(columns.cut(at, until))
            at = until
            if len(self._pending.losses) == BLOCK:
                yield from self._close_block()

    def _close_block(self) -> Iterator[Finding]:
        """Judge a full block. If the loss turns negative, the rules start over on the scale for such losses."""
        losses = self._pending.losses
        if self._rules is None:
            self._unit = self._unit or LossScale.of(losses, signed=False)
            self._rules = LossRules(self._unit)
        scale = self._rules.scale
        if not scale.signed and any(map(scale.is_negative, losses)):
            yield from self._rules.flush(None)
            self._rules = LossRules(replace(scale, signed=True))
        block = self._block()
        if block is not None:
            self._pending = _Columns([], [], [], [])
            yield from self._rules.on_block(block)

    def _block(self) -> Block | None:
        columns = self._pending
        if self._rules is None or not columns.losses:
            return None
        judged = self._rules.scale.judge(columns.losses)
        return Block(columns.steps, columns.samples, columns.clock, columns.losses, judged, median(judged))

    def _bad_loss(self, step: int, clock: float, loss: float) -> Iterator[Finding]:
        if self._finite_in_a_row >= RECOVERED:
            before = "it is the first loss" if self._last_finite is None else f"{self._last_finite:.4g} just before"
            yield finding("nan", step, clock, f"the loss is {loss} at step {step}", before)
        self._finite_in_a_row = 0

    def _evaluate(self, step: int, clock: float, val_loss: float) -> Iterator[Finding]:
        if not math.isfinite(val_loss):
            if not self._bad_evaluation:
                symptom = f"the validation loss is {val_loss} at step {step}"
                yield finding("nan", step, clock, symptom, "weights or validation data are not finite")
            self._bad_evaluation = True
            return
        self._bad_evaluation = False
        training = self._rules.training_level(step) if self._rules else None
        found = self._overfitting.on_evaluation(step, clock, val_loss, training)
        if found is not None:
            yield found


class _Columns(NamedTuple):
    steps: list[int]
    samples: list[int]
    clock: list[float]
    losses: list[float]

    def cut(self, start: int, stop: int) -> _Columns:
        part = slice(start, stop)
        return _Columns(self.steps[part], self.samples[part], self.clock[part], self.losses[part])

    def extend(self, other: _Columns) -> None:
        self.steps.extend(other.steps)
        self.samples.extend(other.samples)
        self.clock.extend(other.clock)
        self.losses.extend(other.losses)
