"""Finds out which task hangs: TensorFlow waits for a stopped or unreachable peer without end. Pure.

Silence alone proves nothing: a slow step, a long evaluation by a callback or a compilation are silent too. A task is
declared hung when nothing came from it for longer than its limit (the larger of a setting and 5 times the slowest
percent of its calls) and what its supervisor sees of the process fits: it is stopped, its supervisor does not answer,
or it has used no processor time meanwhile. One that computes is slow, not hung, until ten times the limit has passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.control.events import Launched
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import Deciding, Evaluation, LegStarted, ReplicaStatus, SnapshotReady, StepBatch

HANG_SECONDS = 30.0
FIRST_CALL_SECONDS = 120.0
_CALLS_PER_LIMIT = 5.0
_REMEMBERED_CALLS = 300
_IDLE_SHARE = 0.05
"""Of one core. A TensorFlow process that waits for its peers uses 0.7 % in sync and less in async (measured)."""
_ANSWER_SECONDS = 10.0
"""A supervisor may take this long to answer, or to be made, however short the limits are."""
_PATIENCE_WITH_THE_BUSY = 10.0
_STOPPED = ("T", "t")


class _Sign(StrEnum):
    """What a hang looks like from outside, the clearest first."""

    GONE = "its supervisor does not answer"
    STOPPED = "its process is stopped (SIGSTOP, or a debugger)"
    IDLE = "its process waits without computing"
    BUSY = "its process computes, but nothing comes of it"


@dataclass
class _Known:
    """What was heard of one task."""

    heard: float
    """When its supervisor last answered."""
    letter: str | None = None
    looks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=4096))
    """Times and CPU seconds."""


@dataclass
class _Source:
    """One stream of progress, and the tasks that have to be alive for it."""

    tasks: tuple[Task, ...]
    since: float | None
    """When it last moved; None while nothing is expected of it."""
    first: bool = True
    """Whether nothing has come yet: buffers fill, graphs are placed."""
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_CALLS))

    missed: int = 0
    """Calls that others completed since this one's last."""

    def moved(self, now: float, seconds: float | None = None) -> None:
        self.since, self.missed = now, 0
        if seconds is not None:
            self.first = False
            self.seconds.append(seconds)

    def slowest(self) -> float:
        """The 99th percentile of its calls, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True)
class HangLimits:
    """The least silence, in seconds, after which a task is examined."""

    hang_seconds: float = HANG_SECONDS
    """Within a leg."""
    first_call_seconds: float = FIRST_CALL_SECONDS
    """Before a leg's first call has ended."""


class HangWatch:
    """Examines every poll of one group and its evaluator."""

    def __init__(self, group: Launched, limits: HangLimits, now: float) -> None:
        self._hang_seconds = limits.hang_seconds
        self._first_seconds = max(limits.first_call_seconds, limits.hang_seconds)
        self._calls_in_flight = group.calls_in_flight
        self._known = {task: _Known(now) for task in (*group.tasks, *group.evaluators)}
        self._group = _Source(group.tasks, None)
        self._deciding = False
        """Whether the leader's callbacks are at work: how long they may take is the user's affair."""
        self._evaluator = _Source(group.evaluators, None)
        self._workers: dict[int, _Source] = {task.index: _Source((task,), None) for task in group.replaceable}

    def limit(self, task: Task) -> float:
        """Seconds of silence after which `task` is looked at."""
        worker = self._workers.get(task.index) if task.type == "worker" else None
        return self._limit(worker or (self._evaluator if task in self._evaluator.tasks else self._group))

    def leg_begins(self, now: float) -> None:
        for source in (self._group, *self._workers.values()):
            source.since, source.first = now, True
        self._deciding = False

    def leg_ends(self) -> None:
        for source in (self._group, *self._workers.values()):
            source.since = None

    def replaced(self, task: Task, now: float) -> None:
        """`task` was started again."""
        self._known[task] = _Known(now)
        source = self._evaluator if task in self._evaluator.tasks else self._workers.get(task.index)
        if source is not None and source.since is not None:
            source.since, source.first, source.missed = now, True, 0

    def scores_awaited(self, count: int, now: float) -> None:
        """How many snapshots the evaluator has still to score."""
        if count == 0:
            self._evaluator.since = None
        elif self._evaluator.since is None:
            self._evaluator.since = now

    def observe(self, statuses: Iterable[ReplicaStatus], now: float) -> tuple[TaskFailure, ...]:
        """Take in a poll; returns the tasks that hang, the likeliest cause first."""
        for status in statuses:
            self._hear(status, now)
        return (*self._check(self._group, now), *self._silent_workers(now), *self._check(self._evaluator, now))

    def stopped(self) -> tuple[TaskFailure, ...]:
        """Tasks whose process is stopped: why their peers went away, and said only that."""
        return tuple(_failure(task, _Sign.STOPPED) for task, known in self._known.items() if known.letter in _STOPPED)

    def suspects(self, tasks: Iterable[Task], now: float) -> tuple[TaskFailure, ...]:
        """Those of `tasks` that are gone, stopped or idle, in this order: asked when a launch takes too long."""
        signs = [(task, sign) for task in tasks if (sign := self._sign(task, now, self._hang_seconds)) is not None]
        return tuple(_failure(task, sign) for wanted in _Sign for task, sign in signs if sign is wanted)

    def _hear(self, status: ReplicaStatus, now: float) -> None:
        known = self._known.get(status.task)
        if known is None:
            return
        known.heard = now
        if status.vitals is not None:
            known.letter = status.vitals.state
            if not known.looks or now - known.looks[-1][0] >= 0.25:
                known.looks.append((now, status.vitals.cpu_seconds))
        for news in status.news:
            match news:
                case StepBatch():
                    self._called(news, now)
                case Evaluation():
                    self._evaluator.moved(now, news.seconds)
                case LegStarted() | SnapshotReady():
                    self._group.moved(now)
                case Deciding():
                    self._deciding = news.begins
                    for source in (self._group, *self._workers.values()):
                        source.since = now

    def _called(self, batch: StepBatch, now: float) -> None:
        self._group.moved(now, batch.seconds)
        for index, worker in self._workers.items():
            if index == batch.worker:
                worker.moved(now, batch.seconds)
            else:
                worker.missed += 1

    def _clear_limit(self, source: _Source) -> float:
        """Seconds after which a process that is stopped, or gone, is not waited for any more."""
        return max(self._hang_seconds, _CALLS_PER_LIMIT * source.slowest())

    def _limit(self, source: _Source) -> float:
        """Seconds after which a process that does nothing is not waited for either."""
        return max(self._clear_limit(source), self._first_seconds if source.first else 0.0)

    def _silent_workers(self, now: float) -> list[TaskFailure]:
        """Independent workers that nothing comes from while others train on."""
        found: list[TaskFailure] = []
        if self._group.since is None or now - self._group.since > self._limit(self._group):
            return found
        for source in self._workers.values():
            may_have_missed = self._calls_in_flight * len(self._workers)  # there may have been none for it to take
            if source.missed > may_have_missed:
                found += self._check(source, now)
        return found

    def _check(self, source: _Source, now: float) -> list[TaskFailure]:
        """The tasks to blame for the silence of `source`; none while it is short, or while one computes."""
        if source.since is None or now - source.since < self._clear_limit(source):
            return []
        silent = now - source.since
        signs = {task: self._sign(task, now, silent) for task in source.tasks}
        # Tasks that wait for one that is stopped, or gone, are idle as well.
        for wanted in (_Sign.GONE, _Sign.STOPPED, None):
            blamed = [task for task, sign in signs.items() if sign is wanted]
            if wanted is not None and blamed:
                return [_failure(task, wanted, silent) for task in blamed]
        if silent < self._limit(source) or (self._deciding and source is not self._evaluator):
            return []
        if not blamed:
            return [_failure(task, _Sign.IDLE, silent) for task in signs]
        if silent < _PATIENCE_WITH_THE_BUSY * self._limit(source):
            return []
        return [_failure(task, _Sign.BUSY, silent) for task in blamed]

    def _sign(self, task: Task, now: float, seconds: float) -> _Sign | None:
        """What is wrong with a task that was silent for `seconds`; None for one that is, or may be, at work."""
        known = self._known[task]
        if now - known.heard >= max(self._hang_seconds, _ANSWER_SECONDS):
            return _Sign.GONE
        if known.letter in _STOPPED:
            return _Sign.STOPPED
        looks = [look for look in known.looks if look[0] >= now - seconds]
        if len(looks) < 2 or looks[-1][0] - looks[0][0] < self._hang_seconds / 2:
            return None
        share = (looks[-1][1] - looks[0][1]) / (looks[-1][0] - looks[0][0])
        return _Sign.IDLE if share < _IDLE_SHARE else None


def _failure(task: Task, sign: _Sign, silent: float | None = None) -> TaskFailure:
    hint = "`py-spy dump --pid PID` on its host shows what every thread is waiting for, when it happens again."
    summary = str(sign) if silent is None else f"no progress for {silent:.0f} s, and {sign}"
    return TaskFailure(task, FailureKind.HUNG, summary, hint=hint)
