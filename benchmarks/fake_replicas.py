"""A worker group of fake replicas, to measure the cost of the real coordinator with very many of them.

Statuses resemble real ones: the leader's calls take 100 ms (`workers.training.loop`), and hosts are sampled every
`SAMPLE_SECONDS`. They are made in this process, so that Ray's own work is not measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.topology import TaskPlan
from workers.messages import Leg, Task
from workers.news import HostSample, LegFinished, LegStarted, ReplicaState, ReplicaStatus, StepBatch

CALL_SECONDS = 0.1
SAMPLE_SECONDS = 1.0


class FakeGroup(WorkerGroup):
    """Makes the leader report calls of `steps` steps for each of `callers` tasks, in a leg of `seconds`."""

    def __init__(self, plans: Sequence[TaskPlan], leader: Task, *, callers: int, steps: int, seconds: float) -> None:
        super().__init__(plans)
        self._leader = leader
        self._callers = callers
        self._steps = steps
        self._seconds = seconds
        self._leg: Leg | None = None
        self._begun = 0.0
        self._reported = 0
        self._sampled = 0.0
        self.poll_gaps: list[float] = []
        self._last_poll: float | None = None

    def poll(self, wait: float) -> list[ReplicaStatus]:
        time.sleep(wait)
        now = time.monotonic()
        if self._leg is not None:
            if self._last_poll is not None:
                self.poll_gaps.append(now - self._last_poll - wait)
            self._last_poll = now
        return [self._status(task, now) for task in self.tasks]

    def shutdown(self) -> None: ...

    def _renew(self, task: Task) -> None: ...

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        if method == "train" and self._leg is None:
            self._leg = arguments[0]
            self._begun = self._sampled = time.monotonic()
        return None

    def _answer(self, asked: Any) -> Any:
        return asked

    def _status(self, task: Task, now: float) -> ReplicaStatus:
        leg = self._leg
        if leg is None:
            return ReplicaStatus(task, ReplicaState.READY)
        sampled = now - self._sampled >= SAMPLE_SECONDS
        samples = (_SAMPLE,) if sampled else ()
        if task != self._leader:
            return ReplicaStatus(task, ReplicaState.TRAINING, samples)
        if sampled:
            self._sampled = now
        elapsed = min(now - self._begun, self._seconds)
        started = () if self._reported else (LegStarted(leg.run_id, 2**40, 32, 2**40),)
        batches = tuple(self._calls(leg.run_id, elapsed))
        steps = self._reported
        ended = elapsed >= self._seconds
        finished = (LegFinished(leg.run_id, steps, 32 * steps, elapsed, None, steps),) if ended else ()
        return ReplicaStatus(task, ReplicaState.TRAINING, (*started, *batches, *finished, *samples))

    def _calls(self, run_id: str, elapsed: float) -> list[StepBatch]:
        """Calls that have ended by now and were not reported yet."""
        due = int(elapsed / CALL_SECONDS) * self._callers * self._steps
        calls = []
        while self._reported < due:
            numbers = np.arange(self._reported + 1, self._reported + self._steps + 1, dtype=np.int64)
            clock = np.linspace(elapsed - CALL_SECONDS, elapsed, self._steps)
            stale = None if self._callers == 1 else np.full(self._steps, self._callers - 1.0)
            losses = 1 / np.sqrt(numbers) + 0.01 * np.sin(numbers)
            worker = self._reported // self._steps % self._callers
            calls.append(StepBatch(run_id, worker, numbers, clock, losses, stale, CALL_SECONDS, {"loss": 1.0}))
            self._reported += self._steps
        return calls


class FakeEvaluator(WorkerGroup):
    """An evaluator that is always ready, and idle because the fake leg takes no snapshots."""

    def poll(self, wait: float) -> list[ReplicaStatus]:
        return [ReplicaStatus(task, ReplicaState.READY) for task in self.tasks]

    def shutdown(self) -> None: ...

    def _renew(self, task: Task) -> None: ...

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any: ...

    def _answer(self, asked: Any) -> Any: ...


_SAMPLE = HostSample(0.0, 50.0, 2**28, 60.0, 30.0, 1e6, 1e6, 0.0, 0.0)
