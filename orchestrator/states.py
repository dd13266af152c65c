"""The states of a worker group, each carrying its data, and the legal moves between them.

    Launching ──all ready──▶ Idle ──train──▶ Training ──budget, target, stop──▶ Scoring ──all scored──▶ Ended
        └────────────┬─────────────────────────┴────────────────────────────────────┘
                     └──a task failed──▶ Failing ──cause known, or grace over──▶ Broken

`advance` is pure: from a state and what a poll brought, to the next state and the orders to carry out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.spec import Target
from workers.messages import (
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
    FailureKind.INFRASTRUCTURE,
    FailureKind.PEER,
)
"""Likeliest cause first: a task that lost its peer says so after the peer that failed did."""


@dataclass(frozen=True)
class Launching:
    waiting: frozenset[Task]


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


Order = ScoreSnapshot | StopLeg


def advance(state: State, statuses: Sequence[ReplicaStatus], now: float) -> tuple[State, tuple[Order, ...]]:
    """The next state after a poll at monotonic time `now`, and what to do about it."""
    failures = tuple(status.failure for status in statuses if status.failure)
    if isinstance(state, Failing):
        return _weigh(Failing(state.since, _join(state.failures, failures)), now), ()
    if failures and not isinstance(state, Broken | Ended):
        return _weigh(Failing(now, failures), now), ()
    if isinstance(state, Launching):
        ready = {status.task for status in statuses if status.state is ReplicaState.READY}
        waiting = state.waiting - ready
        return (Launching(waiting) if waiting else Idle()), ()
    if isinstance(state, Training):
        return _train(state, statuses)
    return state, ()


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
    for evaluation in (e for status in statuses for e in status.evaluations):
        if evaluation.stamp in state.pending:
            state = _scored(state, evaluation)
    if state.reached and not state.finished and not state.stopping:
        state = replace(state, stopping="target")
        orders.append(StopLeg("target"))
    if state.finished and not state.pending:
        return Ended(state.finished, state.plan, state.reached, state.last, state.stopping), tuple(orders)
    return state, tuple(orders)


def _scored(state: Training, evaluation: Evaluation) -> Training:
    state = replace(state, pending=state.pending - {evaluation.stamp})
    if state.last is None or evaluation.stamp.step >= state.last.stamp.step:
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
