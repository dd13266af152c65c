"""Detects hung tasks, because TensorFlow waits without end for a peer that is stopped or unreachable. Pure.

A lack of progress alone proves nothing: a slow step, a long evaluation in a callback and a compilation report nothing
either. A task counts as hung if it made no progress for longer than its limit (the larger of a setting and 5 times the
slowest percent of its calls), and its process is stopped, its supervisor does not answer, or it has used no CPU time
meanwhile. A task that computes counts as slow, and as hung only after ten times the limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.control.events import Launched
from orchestrator.control.hang_records import Progress, Vitals
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import Deciding, Evaluation, LegStarted, ReplicaStatus, SnapshotReady, StepBatch

HANG_SECONDS = 30.0
FIRST_CALL_SECONDS = 120.0
_CALLS_PER_LIMIT = 5.0
_IDLE_SHARE = 0.05
"""CPU share of one core below which a process is idle. A TensorFlow process that waits for its peers uses 0.7 % in sync
mode and less in async mode (measured)."""
_ANSWER_SECONDS = 10.0
"""Seconds that a supervisor may always take to start or to answer, however short the limits are."""
_UNSEEN_SECONDS = 10.0
"""Seconds between two polls that are too many for a driver that runs: a poll waits 5 s for answers."""
_BUSY_FACTOR = 10.0
"""How many times the limit a process that computes may take."""
_LAUNCH_FACTOR = 3.0
"""How many times the launch timeout tasks may take that answer and do not idle (seen: 120 s were not enough for an
async chief among twenty processes on two cores)."""
_STOPPED = ("T", "t")


class _Sign(StrEnum):
    """Why a task counts as hung, the most certain reason first."""

    GONE = "its supervisor does not answer"
    STOPPED = "its process is stopped (SIGSTOP, or a debugger)"
    IDLE = "its process waits without computing"
    BUSY = "its process computes without making progress"


@dataclass(frozen=True)
class HangLimits:
    """The shortest time without progress, in seconds, after which a task may count as hung."""

    hang_seconds: float = HANG_SECONDS
    """Within a leg."""
    first_call_seconds: float = FIRST_CALL_SECONDS
    """Before the first call of a leg has ended."""


class HangWatch:
    """Examines every poll of one worker group and its evaluator."""

    def __init__(self, group: Launched, limits: HangLimits, now: float) -> None:
        self._hang_seconds = limits.hang_seconds
        self._first_seconds = max(limits.first_call_seconds, limits.hang_seconds)
        self._launch_seconds = limits.first_call_seconds
        self._calls_in_flight = group.calls_in_flight
        self._bounded = group.bounded
        self._vitals = {task: Vitals(now) for task in (*group.tasks, *group.evaluators)}
        self._observed = now
        self._group = Progress(group.tasks, None)
        self._in_callbacks = False
        """The leader runs callbacks, which may take as long as the user's code does."""
        self._evaluator = Progress(group.evaluators, None)
        self._workers: dict[int, Progress] = {task.index: Progress((task,), None) for task in group.replaceable}
        self._steps = dict.fromkeys(self._workers, 0)  # of this leg
        self._tried = False
        """A worker was replaced since the last call of the group."""

    def leg_begins(self, now: float) -> None:
        for progress in (self._group, *self._workers.values()):
            progress.since, progress.in_first_call = now, True
        self._in_callbacks = self._tried = False
        self._steps = dict.fromkeys(self._workers, 0)

    def leg_ends(self) -> None:
        for progress in (self._group, *self._workers.values()):
            progress.since = None

    def replaced(self, task: Task, now: float) -> None:
        """`task` was started again."""
        self._vitals[task] = Vitals(now)
        progress = self._evaluator if task in self._evaluator.tasks else self._workers.get(task.index)
        if progress is not self._evaluator and self._group.since is not None:
            self._group.since, self._tried = now, True  # the others may have to wait until it is back
            self._steps[task.index] = min(self._steps.values(), default=0)
        if progress is not None and progress.since is not None:
            progress.since, progress.in_first_call, progress.calls_of_others = now, True, 0

    def scores_awaited(self, count: int, now: float) -> None:
        """The evaluator has `count` snapshots left to score."""
        if count == 0:
            self._evaluator.since = None
        elif self._evaluator.since is None:
            self._evaluator.since = now

    def observe(self, statuses: Iterable[ReplicaStatus], now: float) -> tuple[TaskFailure, ...]:
        """Process a poll; returns failures of the tasks that hang, the likeliest cause first."""
        if now - self._observed > _UNSEEN_SECONDS:
            self._overlook(now - self._observed)
        self._observed = now
        for status in statuses:
            self._record(status, now)
        return (*self._check(self._group, now), *self._check_workers(now), *self._check(self._evaluator, now))

    def _overlook(self, seconds: float) -> None:
        """Do not count the last `seconds`: this process was stopped itself, and did not see what the tasks did."""
        for progress in (self._group, self._evaluator, *self._workers.values()):
            progress.since = None if progress.since is None else progress.since + seconds
        for seen in self._vitals.values():
            seen.last_answer += seconds
            seen.cpu_readings.clear()

    def stopped(self) -> tuple[TaskFailure, ...]:
        """Failures of the tasks whose process is stopped, which explain why their peers lost them."""
        return tuple(
            _failure(task, _Sign.STOPPED) for task, seen in self._vitals.items() if seen.process_state in _STOPPED
        )

    def suspects(self, tasks: Iterable[Task], now: float) -> tuple[TaskFailure, ...]:
        """Failures of those `tasks` that are gone, stopped or idle, in this order; for a launch that takes too long.

        None is idle while a task of the group computes, for which it may wait: a chief for a worker that reads data.
        """
        signs = [(task, sign) for task in tasks if (sign := self._sign(task, now, self._hang_seconds)) is not None]
        if any((self._share(task, now, self._hang_seconds) or 0) >= _IDLE_SHARE for task in self._group.tasks):
            signs = [(task, sign) for task, sign in signs if sign is not _Sign.IDLE]
        return tuple(_failure(task, sign) for wanted in _Sign for task, sign in signs if sign is wanted)

    def may_go_on(self, tasks: Iterable[Task], late: float) -> bool:
        """Whether `tasks` that are not `suspects` may continue, `late` seconds after all should have been ready."""
        within = late < (_LAUNCH_FACTOR - 1) * self._launch_seconds
        return within and all(self._vitals[task].answered for task in tasks)

    def _record(self, status: ReplicaStatus, now: float) -> None:
        seen = self._vitals.get(status.task)
        if seen is None:
            return
        seen.last_answer, seen.answered = now, True
        if status.vitals is not None:
            seen.process_state = status.vitals.state
            if not seen.cpu_readings or now - seen.cpu_readings[-1][0] >= 0.25:
                seen.cpu_readings.append((now, status.vitals.cpu_seconds))
        for news in status.news:
            match news:
                case StepBatch():
                    self._call_ended(news, now)
                case Evaluation():
                    self._evaluator.made(now, news.seconds)
                case LegStarted() | SnapshotReady():
                    self._group.made(now)
                case Deciding():
                    self._in_callbacks = news.begins
                    for progress in (self._group, *self._workers.values()):
                        progress.since = now

    def _call_ended(self, batch: StepBatch, now: float) -> None:
        self._group.made(now, batch.seconds)
        self._tried = False
        if batch.worker in self._steps:
            self._steps[batch.worker] += len(batch.steps)
        for index, worker in self._workers.items():
            if index == batch.worker:
                worker.made(now, batch.seconds)
            else:
                worker.calls_of_others += 1

    def _certain_limit(self, progress: Progress) -> float:
        """Seconds without progress after which a stopped or unreachable process counts as hung."""
        return max(self._hang_seconds, _CALLS_PER_LIMIT * progress.slowest_call())

    def _idle_limit(self, progress: Progress) -> float:
        """Seconds without progress after which an idle process counts as hung."""
        return max(self._certain_limit(progress), self._first_seconds if progress.in_first_call else 0.0)

    def _check_workers(self, now: float) -> list[TaskFailure]:
        """Failures of independent workers that make no progress while others do."""
        found: list[TaskFailure] = []
        if self._group.since is None or now - self._group.since > self._idle_limit(self._group):
            return found
        for index, progress in self._workers.items():
            if self._bounded and self._steps[index] > min(self._steps.values()):
                continue  # it may be waiting for the slowest
            in_flight = self._calls_in_flight * len(self._workers)  # all of these may have gone to other workers
            if progress.calls_of_others > in_flight:
                found += self._check(progress, now)
        return found

    def _check(self, progress: Progress, now: float) -> list[TaskFailure]:
        """Failures of the tasks that prevent `progress`; none before its limit, or while a task computes."""
        if progress.since is None or now - progress.since < self._certain_limit(progress):
            return []
        silent = now - progress.since
        signs = {task: self._sign(task, now, silent) for task in progress.tasks}
        # Tasks that wait for a stopped or unreachable one are idle as well.
        for wanted in (_Sign.GONE, _Sign.STOPPED, None):
            blamed = [task for task, sign in signs.items() if sign is wanted]
            if wanted is not None and blamed:
                return [_failure(task, wanted, silent) for task in blamed]
        if silent < self._idle_limit(progress) or (self._in_callbacks and progress is not self._evaluator):
            return []
        if not blamed:
            idle = self._waited_for() if progress is self._group else ()
            return [_failure(task, _Sign.IDLE, silent) for task in idle or signs]
        if silent < _BUSY_FACTOR * self._idle_limit(progress):
            return []
        return [_failure(task, _Sign.BUSY, silent) for task in blamed]

    def _waited_for(self) -> list[Task]:
        """The workers with the fewest steps, if others wait for them; none once a replacement did not help."""
        if not self._bounded or self._tried:
            return []
        fewest = min(self._steps.values())
        behind = [
            task for index, steps in self._steps.items() if steps == fewest for task in self._workers[index].tasks
        ]
        return behind if len(behind) < len(self._steps) else []

    def _sign(self, task: Task, now: float, seconds: float) -> _Sign | None:
        """Why `task`, which made no progress for `seconds`, may be hung; None if it computes, or may compute."""
        seen = self._vitals[task]
        if now - seen.last_answer >= max(self._hang_seconds, _ANSWER_SECONDS):
            return _Sign.GONE
        if seen.process_state in _STOPPED:
            return _Sign.STOPPED
        share = self._share(task, now, seconds)
        # One that could run and gets no core (a busy host, niced workers of a cluster) is slow, not idle.
        return _Sign.IDLE if share is not None and share < _IDLE_SHARE and seen.process_state != "R" else None

    def _share(self, task: Task, now: float, seconds: float) -> float | None:
        """Cores that `task` has used in the last `seconds`; None if they are not known for half of the hang limit."""
        readings = [reading for reading in self._vitals[task].cpu_readings if reading[0] >= now - seconds]
        if len(readings) < 2 or readings[-1][0] - readings[0][0] < self._hang_seconds / 2:
            return None
        return (readings[-1][1] - readings[0][1]) / (readings[-1][0] - readings[0][0])


def _failure(task: Task, sign: _Sign, silent: float | None = None) -> TaskFailure:
    hint = "If it happens again, `py-spy dump --pid PID` on its host shows what each thread waits for."
    summary = str(sign) if silent is None else f"no progress for {silent:.0f} s, and {sign}"
    return TaskFailure(task, FailureKind.HUNG, summary, hint=hint)
