"""The states of a worker group, each carrying its data, and the legal moves between them.

    Launching ──all ready──▶ Idle ──train──▶ Training ──budget, target, stop──▶ Scoring ──all scored──▶ Ended
        └────────────┬─────────────────────────┴────────────────────────────────────┘
                     └──a task failed──▶ Failing ──cause known, or grace over──▶ Broken

A task that the others do not need (the evaluator, an asynchronous worker) is replaced in place, without leaving the
state. Everything else that fails ends this attempt; `orchestrator.control.failure_policy` says whether another one
is worth it.

`advance` is pure: from a state and what a poll brought, to the next state and the orders to carry out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.control.failure_policy import MACHINES
from orchestrator.metric_target import Target
from workers.messages import (
    PREEMPTED,
    Evaluation,
    FailureKind,
    LegFinished,
    LegStarted,
    ReplicaState,
    ReplicaStatus,
    Stamp,
    Task,
    TaskFailure,
)

CAUSE_GRACE_SECONDS = 3.0
"""How long to wait for the cause when all that is known is that a peer went away."""

_CAUSES = (
    FailureKind.SPEC,
    FailureKind.USER,
    FailureKind.ADDRESS_TAKEN,
    FailureKind.LATE,
    FailureKind.MEMORY,
    FailureKind.HUNG,
    FailureKind.INFRASTRUCTURE,
    FailureKind.PEER,
)
"""Likeliest cause first: a task that lost its peer says so after the peer that failed did."""


@dataclass(frozen=True)
class Launching:
    waiting: frozenset[Task]
    replaceable: frozenset[Task] = frozenset()
    replacing: frozenset[Task] = frozenset()
    """Failed, ordered to be replaced, and not heard of since."""


@dataclass(frozen=True)
class Idle:
    """Every task is ready for a leg."""


@dataclass(frozen=True)
class Training:
    """A leg is under way, or over and its snapshots are still being scored (`finished` is set)."""

    run_id: str
    target: Target | None = None
    plan: LegStarted | None = None
    finished: LegFinished | None = None
    pending: frozenset[Stamp] = frozenset()
    """Snapshots whose score is awaited."""
    reached: Evaluation | None = None
    """The earliest evaluation that met the target."""
    last: Evaluation | None = None
    """The evaluation of the latest snapshot so far."""
    stopping: str | None = None
    replaceable: frozenset[Task] = frozenset()
    """Tasks that training goes on without until they are back."""
    scorers: frozenset[Task] = frozenset()
    """Who is still needed when the last step is made: the evaluator."""
    replacing: frozenset[Task] = frozenset()
    """Failed, ordered to be replaced, and not heard of since."""


@dataclass(frozen=True)
class Ended:
    finished: LegFinished
    plan: LegStarted | None
    reached: Evaluation | None
    last: Evaluation | None
    stopping: str | None


@dataclass(frozen=True)
class Failing:
    since: float
    failures: tuple[TaskFailure, ...]
    replaceable: frozenset[Task] = frozenset()
    """Tasks whose failures are not the cause, unless they are of a kind that no replacement cures."""


@dataclass(frozen=True)
class Broken:
    cause: TaskFailure
    failures: tuple[TaskFailure, ...] = field(default=())


State = Launching | Idle | Training | Ended | Failing | Broken


@dataclass(frozen=True)
class ScoreSnapshot:
    """Order: hand the leader's snapshot to the evaluator."""

    stamp: Stamp


@dataclass(frozen=True)
class StopLeg:
    """Order: have the trainers end the leg at their next call."""

    reason: str


@dataclass(frozen=True)
class Replace:
    """Order: start the failed task anew, in its old place; the others go on meanwhile."""

    failure: TaskFailure


Order = ScoreSnapshot | StopLeg | Replace


def advance(state: State, statuses: Sequence[ReplicaStatus], now: float) -> tuple[State, tuple[Order, ...]]:
    """The next state after a poll at monotonic time `now`, and what to do about it."""
    failures = tuple(status.failure for status in statuses if status.failure)
    if isinstance(state, Failing):
        _, blamed = _sort(failures, state.replaceable)
        return _weigh(replace(state, failures=_join(state.failures, blamed)), now), ()
    spared: tuple[Replace, ...] = ()
    if isinstance(state, Launching | Training):
        state, failures, spared = _spare(state, failures, statuses)
    if failures and not isinstance(state, Broken | Ended):
        spareable = state.replaceable if isinstance(state, Launching | Training) else frozenset()
        return _weigh(Failing(now, failures, spareable), now), ()
    if isinstance(state, Launching):
        ready = {status.task for status in statuses if status.state is ReplicaState.READY}
        waiting = (state.waiting | {order.failure.task for order in spared}) - ready
        return (replace(state, waiting=waiting) if waiting else Idle()), spared
    if isinstance(state, Training):
        trained, orders = _train(state, statuses)
        return trained, (*spared, *orders)
    return state, ()


def _spare(
    state: Launching | Training, failures: tuple[TaskFailure, ...], statuses: Sequence[ReplicaStatus]
) -> tuple[Launching | Training, tuple[TaskFailure, ...], tuple[Replace, ...]]:
    """Set aside the failures that are no reason to end the attempt; returns the others, and what to replace."""
    heard = {status.task for status in statuses if status.failure is None}
    replacing = state.replacing - heard
    spared, left = _sort(failures, state.replaceable)
    if isinstance(state, Training) and (state.finished or _finishes(state.run_id, statuses)):
        # Trained to the end: only the evaluator still has something to do for this run.
        left = tuple(failure for failure in left if failure.task in state.scorers)
        spared = {task: failure for task, failure in spared.items() if task in state.scorers}
    orders = tuple(Replace(failure) for task, failure in spared.items() if task not in replacing)
    return replace(state, replacing=replacing | set(spared)), left, () if left else orders


def _sort(
    failures: tuple[TaskFailure, ...], replaceable: frozenset[Task]
) -> tuple[dict[Task, TaskFailure], tuple[TaskFailure, ...]]:
    """Failures that a replacement cures, by task, and all others.

    A replaceable task that finds its port taken needs a new one, and so do all others then.
    """
    spared = {f.task: f for f in failures if f.task in replaceable and f.kind in MACHINES}
    return spared, tuple(failure for failure in failures if failure.task not in spared)


def _finishes(run_id: str, statuses: Iterable[ReplicaStatus]) -> bool:
    return any(finished.run_id == run_id for status in statuses for finished in status.leg_finished)


def _train(state: Training, statuses: Sequence[ReplicaStatus]) -> tuple[State, tuple[Order, ...]]:
    orders: list[Order] = []
    for status in statuses:
        for plan in status.leg_started:
            if plan.run_id == state.run_id:
                state = replace(state, plan=plan)
        for stamp in status.snapshots:
            if stamp.run_id == state.run_id:
                state = replace(state, pending=state.pending | {stamp})
                orders.append(ScoreSnapshot(stamp))
        for finished in status.leg_finished:
            if finished.run_id == state.run_id:
                state = replace(state, finished=finished)
    # After all snapshots: an evaluation may come in the same poll as the snapshot that follows it.
    state = scored(state, statuses)
    if state.reached and not state.finished and not state.stopping:
        state = replace(state, stopping="target")
        orders.append(StopLeg("target"))
    if any(status.preempted for status in statuses) and not state.finished and not state.stopping:
        state = replace(state, stopping=PREEMPTED)
        orders.append(StopLeg(PREEMPTED))
    if state.finished and (not state.pending or state.stopping == PREEMPTED):  # nobody waits for scores then
        return Ended(state.finished, state.plan, state.reached, state.last, state.stopping), tuple(orders)
    return state, tuple(orders)


def scored(state: Training, statuses: Sequence[ReplicaStatus]) -> Training:
    """With the evaluations that a poll brought; they come while the group is launched anew as well."""
    for evaluation in (e for status in statuses for e in status.evaluations):
        if evaluation.stamp in state.pending:
            state = _scored(state, evaluation)
    return state


def _scored(state: Training, evaluation: Evaluation) -> Training:
    state = replace(state, pending=state.pending - {evaluation.stamp})
    last = state.last.stamp if state.last else None
    # After a restart, snapshots of the attempt before may be scored that lie beyond where the run then ends.
    if last is None or evaluation.stamp.final or (not last.final and evaluation.stamp.step >= last.step):
        state = replace(state, last=evaluation)
    value = evaluation.metrics.get(state.target.metric) if state.target else None
    if state.target is None or value is None or not state.target.met_by(value):
        return state
    if state.reached is None or evaluation.stamp.step < state.reached.stamp.step:
        state = replace(state, reached=evaluation)
    return state


def _weigh(state: Failing, now: float) -> Failing | Broken:
    """Broken once the cause is known: anything but a lost peer, or nothing else within the grace."""
    known = any(failure.kind is not FailureKind.PEER for failure in state.failures)
    if not known and now - state.since < CAUSE_GRACE_SECONDS:
        return state
    cause = min(state.failures, key=lambda failure: _CAUSES.index(failure.kind))
    return Broken(cause, state.failures)


def _join(known: tuple[TaskFailure, ...], new: Iterable[TaskFailure]) -> tuple[TaskFailure, ...]:
    tasks = {failure.task for failure in known}
    return known + tuple(failure for failure in new if failure.task not in tasks)
