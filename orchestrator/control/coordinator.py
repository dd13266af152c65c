"""The control loop: polls a worker group, moves it from state to state, and carries out the orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.cluster.worker_group import Assign, SnapshotHandle, WorkerGroup
from orchestrator.control import preemption
from orchestrator.control.deadlines import Patience
from orchestrator.control.evaluations import Scoring
from orchestrator.control.failure_policy import FailurePolicy
from orchestrator.control.hangs import HANG_SECONDS, HangWatch
from orchestrator.control.recent_snapshots import RecentSnapshots
from orchestrator.control.replacements import Replacements
from orchestrator.control.states import (
    Broken,
    Ended,
    Failing,
    Idle,
    Launching,
    Replace,
    ScoreSnapshot,
    State,
    StopLeg,
    Training,
    advance,
    scored,
)
from orchestrator.errors import ClusterError
from orchestrator.metric_target import Target
from workers.messages import (
    PREEMPTED,
    ROLLBACK,
    FailureKind,
    Leg,
    ReplicaState,
    ReplicaStatus,
    Stamp,
    Task,
    TaskFailure,
)

SHORTEST_WAIT, WAIT_GROWTH = 0.02, 1.3
LONG_WAIT, LONGEST_WAIT = 0.25, 0.5
"""Seconds between two polls of a leg that has lasted a second, and of one that has lasted 20. Polls of every 60 ms took
a quarter of a core from a pair of workers on two cores, in the driver and the supervisors."""
WAIT_PER_SECOND = LONGEST_WAIT / 20
"""What a leg's end is noticed late by is a fortieth of the leg at most, once it is long."""
WAIT_PER_TASK = 0.02
"""In large groups the longest wait grows with their size, so that the driver's load does not."""
FIRST_CALL_SECONDS = 120.0


class GroupBroken(Exception):  # noqa: N818 - a state of the group, handled here and in `runner`, never shown
    """A task failed; `cause` is the failure to act on."""

    def __init__(self, cause: TaskFailure, failures: Sequence[TaskFailure]) -> None:
        super().__init__(cause.summary)
        self.cause = cause
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Tick:
    """One turn of the loop, for whoever watches: store, live view, stability monitor."""

    state: State
    statuses: Sequence[ReplicaStatus]
    replaced: tuple[TaskFailure, ...] = ()
    """Failures that the group survives: their tasks are started anew."""


Listener = Callable[[Tick], None]


class Coordinator:
    """Drives one group, and the evaluator it may share with others, through launch and legs.

    When the group breaks, another one may take its place (`renew`); what the evaluator still has to score is kept.
    """

    def __init__(
        self,
        group: WorkerGroup,
        evaluator: WorkerGroup,
        *,
        leader: Task,
        trainers: Sequence[Task],
        replaceable: Sequence[Task] = (),
        keeps_snapshots: bool = False,
        policy: FailurePolicy | None = None,
        hang_seconds: float = HANG_SECONDS,
        first_call_seconds: float = FIRST_CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`replaceable`: tasks that training goes on without until they are back.

        `keeps_snapshots`: hold on to a few of each leg, so that it can be rolled back. `hang_seconds` and
        `first_call_seconds`: the least silence, in a leg and before its first call, that is looked at as a hang.
        """
        self._evaluator = evaluator
        self._leader = leader
        self._clock = clock
        self._policy = policy or FailurePolicy()
        self._limits = {"hang_seconds": hang_seconds, "first_seconds": first_call_seconds}
        self._keeps_snapshots = keeps_snapshots
        self.snapshots: RecentSnapshots[SnapshotHandle] = RecentSnapshots()
        """Of the leg under way."""
        self._scoring = Scoring(evaluator)
        self._leg = 0
        self._training: Training | None = None
        """What was known of the leg under way when the group broke."""
        self.renew(group, trainers, replaceable)

    def renew(self, group: WorkerGroup, trainers: Sequence[Task], replaceable: Sequence[Task]) -> None:
        """From now on drive `group`, which is to be launched; it may have more workers than the one before, or less."""
        self._group = group
        self._trainers = trainers
        self._replaceable = frozenset(replaceable)
        self._hangs = HangWatch(group.tasks, self._evaluator.tasks, now=self._clock(), **self._limits)
        self._replacements = Replacements(self._policy, self._clock)
        self.state: State = Launching(frozenset(group.tasks))

    def launch(self, assign: Assign) -> None:
        """Order all tasks to start; `await_ready` waits for them."""
        self._group.launch(assign)

    def await_ready(self, deadline: float, listen: Listener) -> None:
        """Until every task of the group, and the evaluator, is ready for a leg.

        Raises:
            GroupBroken: a task failed, or does nothing for getting ready.
            ClusterError: not all were ready by `deadline`, and those that are missing are at work; names them.
        """
        self.state = Launching(
            frozenset([*self._group.tasks, *self._evaluator.tasks]), frozenset(self._evaluator.tasks)
        )
        seen: Mapping[Task, ReplicaState] = {}
        wait = SHORTEST_WAIT
        while not isinstance(self.state, Idle):
            statuses = self._turn(wait, listen)
            seen = {**seen, **{status.task: status.state for status in statuses}}
            if any(status.preempted for status in statuses):
                raise preemption.Preempted
            if isinstance(self.state, Launching) and self._clock() > deadline:
                self._give_up_waiting(sorted(self.state.waiting), seen)
            wait = 2 * SHORTEST_WAIT

    def run(
        self,
        leg: Leg,
        target: Target | None,
        deadline: float | None,
        listen: Listener,
        snapshot: SnapshotHandle | None = None,
    ) -> Ended:
        """Train one leg to its end, from `snapshot` if `leg.start` says so, and score all its snapshots.

        What was found out about its run before the group broke, if it did, still holds.

        Raises:
            GroupBroken: a task failed that the others need.
            Preempted: the machine is wanted back, and the leg did not end in time.
        """
        with preemption.worth_saving():
            self._begin(leg, target, snapshot)
            return self._to_the_end(deadline, listen)

    def _to_the_end(self, deadline: float | None, listen: Listener) -> Ended:
        wait, begun = SHORTEST_WAIT, self._clock()
        patience = Patience(deadline)
        while True:
            self._turn(wait, listen)
            if isinstance(state := self.state, Ended):
                self.state = Idle()
                self._training = None
                self._hangs.leg_ends()
                return state
            wait = min(self._longest_wait(self._clock() - begun), wait * WAIT_GROWTH)
            if preemption.requested():
                self.stop(PREEMPTED)
            if patience.is_over(self.state, self._clock()):
                self._group.request_stop("timeout", self._leg, self._trainers)

    def _longest_wait(self, seconds: float) -> float:
        """Between two polls of a leg that has lasted `seconds`."""
        by_age = min(LONGEST_WAIT, WAIT_PER_SECOND * seconds)
        return max(LONG_WAIT, by_age, WAIT_PER_TASK * len(self._group.tasks))

    def stop(self, reason: str) -> bool:
        """End the leg under way; False if it ends, or is about to, for another reason."""
        state = self.state
        if not isinstance(state, Training) or state.finished or state.stopping:
            return False
        self.state = replace(state, stopping=reason)
        self._carry_out(StopLeg(reason))
        return True

    def _begin(self, leg: Leg, target: Target | None, snapshot: SnapshotHandle | None) -> None:
        self._leg += 1
        self.state = Training(
            leg.run_id,
            target,
            replaceable=self._replaceable | frozenset(self._evaluator.tasks),
            scorers=frozenset(self._evaluator.tasks),
        )
        before = self._training if self._training and self._training.run_id == leg.run_id else None
        if before is not None:
            pending = before.pending & self._scoring.held(self._group.holds)
            self.state = replace(self.state, pending=pending, reached=before.reached, last=before.last)
        self._scoring.keep(self.state.pending)
        self.snapshots.clear()
        self._group.train(replace(leg, number=self._leg), self._trainers, snapshot)
        self._hangs.leg_begins(self._clock())
        if before is not None and before.stopping not in (None, ROLLBACK):
            self.stop(str(before.stopping))

    def _turn(self, wait: float, listen: Listener) -> list[ReplicaStatus]:
        statuses = [*self._group.poll(wait), *self._evaluator.poll(0)]
        now = self._clock()
        hung = self._hangs.observe(statuses, now)
        if isinstance(self.state, Failing):
            hung = (*hung, *self._hangs.stopped())
        statuses += [ReplicaStatus(failure.task, ReplicaState.FAILED, failure=failure) for failure in hung]
        self.state, orders = advance(self.state, statuses, now)
        self._keep_books(statuses, now)
        lost = tuple(order.failure for order in orders if isinstance(order, Replace))
        for order in orders:
            if isinstance(order, ScoreSnapshot):  # whoever listens may want to go back to it already
                self._take(order.stamp)
        listen(Tick(self.state, statuses, tuple(f for f in lost if self._replacements.is_new(f))))
        self.snapshots.forget()
        if isinstance(self.state, Broken):
            if preemption.requested() or (self._training is not None and self._training.stopping == PREEMPTED):
                raise preemption.Preempted  # its last checkpoint is what is left, and no reason to launch anew
            raise GroupBroken(self.state.cause, self.state.failures)
        for order in orders:
            if not isinstance(order, ScoreSnapshot):
                self._carry_out(order)
        for task in self._replacements.due():
            self.replace(task)
        return statuses

    def _keep_books(self, statuses: Sequence[ReplicaStatus], now: float) -> None:
        """What is known of the leg, so that it outlives a group that breaks."""
        if isinstance(self.state, Training):
            self._training = self.state
        elif self._training is not None:
            self._training = scored(self._training, statuses)
        self._replacements.hear(statuses)
        for evaluation in (e for status in statuses for e in status.evaluations):
            if isinstance(self.state, Training | Ended):
                self._group.scored(self._leader, evaluation)
        self._scoring.keep(self._training.pending if self._training else ())
        self._hangs.scores_awaited(len(self._scoring), now)

    def _take(self, stamp: Stamp) -> None:
        """Have a snapshot scored, and keep it."""
        snapshot = self._group.snapshot(self._leader, stamp)
        self._scoring.order(stamp, snapshot)
        if self._keeps_snapshots:
            self.snapshots.add(stamp, snapshot)

    def _carry_out(self, order: StopLeg | Replace) -> None:
        if isinstance(order, StopLeg):
            self._group.request_stop(order.reason, self._leg, self._trainers)
        elif not self._replacements.order(order.failure):
            raise GroupBroken(order.failure, [order.failure])

    def replace(self, task: Task) -> None:
        """Start `task` anew in its place; an evaluator gets its unfinished work again."""
        group = self._evaluator if task in self._evaluator.tasks else self._group
        group.replace(task)
        self._hangs.replaced(task, self._clock())
        if task in self._evaluator.tasks:
            self._scoring.again()

    def _give_up_waiting(self, missing: Sequence[Task], seen: Mapping[Task, ReplicaState]) -> None:
        listed = ", ".join(f"{task} ({seen.get(task, 'silent')})" for task in missing)
        idle = self._hangs.suspects(missing, self._clock())
        if idle:
            late = [
                replace(f, kind=FailureKind.LATE, summary=f"not ready in time; missing: {listed}; {f.summary}")
                for f in idle
            ]
            raise GroupBroken(late[0], late)
        raise ClusterError(
            f"Not all tasks were ready in time; missing: {listed}. Their logs say how far they came. "
            "A model that takes long to compile needs a larger --launch-timeout; a task that is silent sits "
            "on a host that cannot be reached."
        )
