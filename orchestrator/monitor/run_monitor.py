"""Watches one run: the stability of its loss, its speed, and its gradient noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import numpy as np

from orchestrator.monitor.noise_scale import NoiseScaleEstimate
from orchestrator.monitor.speed import Pace
from orchestrator.monitor.stability import StabilityDetector
from orchestrator.results import Finding, GradientNoise
from orchestrator.spec.run import RunSpec
from orchestrator.verdict.evidence import UNSTABLE_SPIKES
from workers.messages import LARGE_BATCH_NORM, SMALL_BATCH_NORM
from workers.news import CallTiming, Evaluation, LegStarted, ReplicaStatus, StepBatch


class RunMonitor:
    """Takes in polls and gives findings. Judges nothing where the spec switches monitoring off."""

    def __init__(self, spec: RunSpec, run_id: str) -> None:
        self._run_id = run_id
        self._batch_size = spec.batch_size
        self._judges = spec.monitor
        self._detector = StabilityDetector()
        self._pace = Pace()
        self._noise = NoiseScaleEstimate()
        self._spikes: list[Finding] | None = []
        """Spikes that are not told yet; None once they are told as they come."""

    def observe(self, statuses: Iterable[ReplicaStatus]) -> Iterator[Finding]:
        """Findings that a poll gives rise to."""
        return self._worth_telling(self._observe(statuses))

    def _worth_telling(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """The findings, but spikes only from the third on, and the first two with it.

        A spike is over when it is found. Hard batches make one or two in ordinary runs, and nothing follows from them.
        """
        for found in findings:
            if found.kind != "spike" or self._spikes is None:
                yield found
                continue
            self._spikes.append(found)
            if len(self._spikes) == UNSTABLE_SPIKES:
                yield from self._spikes
                self._spikes = None

    def _observe(self, statuses: Iterable[ReplicaStatus]) -> Iterator[Finding]:
        for status in statuses:
            batches = [news for news in status.news if isinstance(news, StepBatch)]
            if batches and self._judges:
                yield from self._judge(batches)
            for news in status.news:
                match news:
                    case LegStarted():
                        self._noise.begin(self._batch_size, news.global_batch)
                    case StepBatch() if SMALL_BATCH_NORM in news.logs and LARGE_BATCH_NORM in news.logs:
                        small, large = news.logs[SMALL_BATCH_NORM], news.logs[LARGE_BATCH_NORM]
                        self._noise.add(small, large, len(news.steps))
                    case CallTiming(run_id=self._run_id):
                        yield from self._pace.observe(news)
                    case Evaluation(stamp, metrics) if "val_loss" in metrics and self._judges:
                        yield from self._detector.observe_evaluation(stamp.step, stamp.clock, metrics["val_loss"])

    def restarted(self) -> tuple[Finding, ...]:
        """Training continues from a checkpoint, in another attempt; returns findings about the last steps before."""
        self._pace.restarted()
        return self.rolled_back()

    def rolled_back(self) -> tuple[Finding, ...]:
        """Training repeats steps that it has made already; returns findings about the last steps before."""
        return tuple(self._worth_telling(self._detector.rewound()))

    def finish(self) -> Iterator[Finding]:
        """The run ended: findings about its last steps."""
        if self._judges:
            yield from self._worth_telling(self._detector.finish())
            yield from self._pace.finish()

    @property
    def jitter(self) -> float | None:
        return self._detector.jitter

    @property
    def gradient_noise(self) -> GradientNoise | None:
        """None unless norms of gradients were logged, and suffice for an estimate."""
        found = self._noise.value
        return None if found is None else GradientNoise(**asdict(found), steps=self._noise.steps)

    def _judge(self, batches: Sequence[StepBatch]) -> Iterable[Finding]:
        """All at once: with cold caches the detector takes 17 us a step for 36 steps, and 12 for 180."""
        steps, clock, losses = (
            np.concatenate([getattr(batch, column) for batch in batches]) for column in ("steps", "clock", "losses")
        )
        return self._detector.observe(steps, steps * self._batch_size, clock, losses)
