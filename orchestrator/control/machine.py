"""The state machine of one worker group, over all its attempts and runs: events in, orders out.

All decisions are made here. `advance` neither waits nor communicates, and gets the time with every event. What is
known about a leg outlives an attempt that breaks, so that no score is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control import events, orders
from orchestrator.control.continuing import continued
from orchestrator.control.deadlines import LegDeadlines, not_ready
from orchestrator.control.failure_policy import FailurePolicy
from orchestrator.control.hangs import HangLimits, HangWatch
from orchestrator.control.recent_snapshots import RecentSnapshots
from orchestrator.control.replacements import Replacements
from orchestrator.control.rollback import Rollback
from orchestrator.control.run_progress import RunProgress
from orchestrator.control.states import (
    Broken,
    Completed,
    Failing,
    Idle,
    Launching,
    State,
    Training,
    next_state,
    with_scores,
)
from orchestrator.results import Finding
from workers.messages import ROLLBACK, TO_BE_RESUMED, FailureKind, Task, TaskFailure
from workers.news import Evaluation, ReplicaState, ReplicaStatus, Stamp


@dataclass(frozen=True)
class Rules:
    """What a spec says about failures of its worker group."""

    policy: FailurePolicy = field(default_factory=FailurePolicy)
    hangs: HangLimits = field(default_factory=HangLimits)


class Machine:
    """Decides for one worker group and its evaluator, which other groups may share."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._leg = 0
        self._training: Training | None = None
        """What is known about the leg, also while another attempt is launched."""
        self._awaited: dict[Stamp, SnapshotHandle] = {}
        """Snapshots that are not scored yet; kept here, they survive the evaluator."""
        self._snapshots: RecentSnapshots[SnapshotHandle] = RecentSnapshots()
        self._rollback = Rollback("warn")
        self._deadlines = LegDeadlines(None)
        self._run_deadline = math.inf
        self.progress = RunProgress("", None, 0.0)
        self.state: State = Idle()

    @property
    def awaited(self) -> Mapping[Stamp, SnapshotHandle]:
        """Snapshots that are not scored yet."""
        return self._awaited

    def advance(self, event: events.Event, now: float) -> list[orders.Order]:
        """Process an event at monotonic time `now`; returns the orders that follow, in sequence."""
        match event:
            case events.Polled():
                return self._polled(event, now)
            case events.Launched():
                self._launched(event, now)
            case events.RunBegan() if event.run_id != self.progress.run_id:
                self._rollback = Rollback(event.on_instability)
                self._run_deadline = math.inf if event.deadline is None else event.deadline
                self.progress = RunProgress(event.run_id, event.clock, now, event.spent)
            case events.ReadyAwaited():
                tasks = frozenset([*self._group, *self._evaluators])
                self.state = Launching(tasks, event.deadline, replaceable=frozenset(self._evaluators))
            case events.LegOrdered():
                return self._begin(event, now)
            case events.SnapshotSent():
                self._awaited[event.stamp] = event.handle
                if self._rollback.policy == "rollback":
                    self._snapshots.add(event.stamp, event.handle)
            case events.StopRequested():
                return self._stop(event.reason)
            case events.FindingMade():
                return self._react(event.finding)
            case events.TaskMoved():
                return self._replace_task(event.task, now)
            case events.LaunchFailed():
                return [self._after_failure(event.failure, (event.failure,), now)]
        return []

    def _launched(self, event: events.Launched, now: float) -> None:
        self._group, self._evaluators = event.tasks, event.evaluators
        self._replaceable = event.replaceable
        self._hangs = HangWatch(event, self._rules.hangs, now)
        self._replacements = Replacements(self._rules.policy)
        self.state = Launching(frozenset(event.tasks))

    def _begin(self, event: events.LegOrdered, now: float) -> list[orders.Order]:
        self._leg += 1
        self._deadlines = LegDeadlines(event.deadline)
        scorers = frozenset(self._evaluators)
        state = Training(event.run_id, event.target, replaceable=self._replaceable | scorers, scorers=scorers)
        before = self._training if self._training and self._training.run_id == event.run_id else None
        if before is not None:
            pending = before.pending & self._awaited.keys() - event.lost
            state = replace(state, pending=pending, reached=before.reached, last=before.last)
        self.state = state
        self._keep_awaited(state.pending)
        self._snapshots.clear()
        self._hangs.leg_begins(now)
        decided: list[orders.Order] = [orders.Train(self._leg)]
        if before is not None and before.stopping not in (None, ROLLBACK):
            decided += self._stop(str(before.stopping))
        return decided

    def _polled(self, event: events.Polled, now: float) -> list[orders.Order]:
        self._snapshots.forget()
        hung = self._hangs.observe(event.statuses, now)
        if isinstance(self.state, Failing):
            hung = (*hung, *self._hangs.stopped())
        statuses = (*event.statuses, *(ReplicaStatus(f.task, ReplicaState.FAILED, failure=f) for f in hung))
        self.state, effects = next_state(self.state, statuses, now)
        recorded = self._record(statuses, effects.score, now)
        new = tuple(failure for failure in effects.to_replace if self._replacements.is_new(failure))
        recorded.append(orders.Report(self.state, statuses, new))
        if effects.stop is not None:
            recorded.append(orders.StopLeg(effects.stop, self._leg))
        for failure in effects.to_replace:
            if not self._replacements.order(failure, now):
                self.state = Broken(failure, (failure,))
        replaced: list[orders.Order] = []
        if not isinstance(self.state, Broken):
            for task in self._replacements.take_due(now):
                replaced += self._replace_task(task, now)
        # A new evaluator is given the snapshots that were awaited before this poll; those of this poll follow.
        return [*replaced, *map(orders.Score, effects.score), *recorded, *self._outcome(statuses, event.stop, now)]

    def _record(self, statuses: Sequence[ReplicaStatus], new: Sequence[Stamp], now: float) -> list[orders.Order]:
        """Update what is known about the leg, so that it outlives an attempt that breaks."""
        if isinstance(self.state, Training):
            self._training = self.state
        elif isinstance(self.state, Completed):
            self._training = self.state.training
        elif self._training is not None:
            self._training = with_scores(self._training, statuses)
        self._replacements.observe(statuses)
        self.progress.observe(statuses, now)
        pending = self._training.pending if self._training else frozenset()
        self._keep_awaited(pending)
        self._hangs.scores_awaited(len(self._awaited.keys() | set(new)), now)
        if not isinstance(self.state, Training | Completed):
            return []
        return [orders.ReportScore(n) for status in statuses for n in status.news if isinstance(n, Evaluation)]

    def _outcome(self, statuses: Sequence[ReplicaStatus], stop: str | None, now: float) -> list[orders.Order]:
        """The outcome, if the leg or the attempt ended with this poll, and the orders before it."""
        match self.state:
            case Broken(cause, failures):
                ends = stop is not None or (self._training is not None and self._training.stopping in TO_BE_RESUMED)
                # The last checkpoint is all that counts then, and another attempt would be pointless.
                return [orders.Preempt() if ends else self._after_failure(cause, failures, now)]
            case Idle():
                return [orders.Ready()]
            case Completed(training):
                return [self._end(training, now)]
            case Launching():
                return self._launching(self.state, statuses, now)
            case Training():
                decided = [] if stop is None else self._stop(stop)
                ending = self._deadlines.check(self.state, now)
                if ending is True:
                    return [*decided, orders.StopLeg("timeout", self._leg)]
                return [*decided, ending] if ending else decided
        return []

    def _end(self, training: Training, now: float) -> orders.Order:
        finished = training.finished
        if finished is None:
            raise RuntimeError("a leg is completed without having finished")
        self.state, self._training = Idle(), continued(training)
        self._hangs.leg_ends()
        self._rollback.leg_ended(finished, self.progress.bad_step, self._snapshots)
        rollback = self._take_rollback(now)
        # A snapshot from before the instability may have reached the target and been scored only now.
        if rollback is not None and not training.reached:
            return rollback
        unstable = not training.reached and finished.stopped is not None and finished.stopped == self._rollback.stopped
        return orders.Ended(finished, training.plan, training.reached, training.last, training.stopping, unstable)

    def _launching(self, state: Launching, statuses: Sequence[ReplicaStatus], now: float) -> list[orders.Order]:
        if any(status.preempted for status in statuses):
            return [orders.Preempt()]
        if state.deadline is None or now <= state.deadline:
            return []
        late = [
            replace(f, kind=FailureKind.LATE, summary=f"not ready in time; missing: {state.missing}; {f.summary}")
            for f in self._hangs.suspects(sorted(state.waiting), now)
        ]
        if late:
            return [self._after_failure(late[0], tuple(late), now)]
        if now <= self._run_deadline and self._hangs.may_go_on(state.waiting, now - state.deadline):
            return []
        return [orders.Abort(not_ready(state.missing))]

    def _after_failure(self, cause: TaskFailure, failures: tuple[TaskFailure, ...], now: float) -> orders.Order:
        """Decide whether another attempt follows one that broke."""
        decision = self.progress.decide(cause, self._rules.policy)
        if decision.again and now > self._run_deadline:
            return orders.GiveUp(cause, failures, "The timeout has passed, so there is no retry.")
        if not decision.again:
            return orders.GiveUp(cause, failures, decision.reason)
        return orders.Relaunch(cause, failures, decision.wait, self._take_rollback(now))

    def _take_rollback(self, now: float) -> orders.RollBack | None:
        rollback = self._rollback.take(self.progress.clock(now), self.progress.spent(now))
        if rollback is not None:
            # The run must not continue from checkpoints of before the rollback.
            self.progress.checkpoint = self.progress.bad_step = None
        return rollback

    def _stop(self, reason: str) -> list[orders.Order]:
        """Stop the current leg, unless it has ended or is stopping for another reason."""
        state = self.state
        if not isinstance(state, Training) or state.finished or state.stopping:
            return []
        self.state = self._training = replace(state, stopping=reason)
        return [orders.StopLeg(reason, self._leg)]

    def _react(self, finding: Finding) -> list[orders.Order]:
        reason = self._rollback.reason(finding)
        decided = [] if reason is None else self._stop(reason)
        if reason is None or not decided:
            return [orders.ActionTaken("warned")]
        return [*decided, orders.ActionTaken(self._rollback.leg_stopped(reason, finding, self._snapshots))]

    def _replace_task(self, task: Task, now: float) -> list[orders.Order]:
        self._hangs.replaced(task, now)
        again = self._awaited.items() if task in self._evaluators else ()
        return [orders.ReplaceTask(task), *(orders.ScoreAgain(stamp, handle) for stamp, handle in again)]

    def _keep_awaited(self, pending: frozenset[Stamp]) -> None:
        self._awaited = {stamp: handle for stamp, handle in self._awaited.items() if stamp in pending}
