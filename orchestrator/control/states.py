"""The states of a worker group, each carrying its data, and the legal moves between them.

    Launching ──all ready──▶ Idle ──train──▶ Training ──budget, target, stop──▶ (scoring) ──all scored──▶ Over
        └────────────┬─────────────────────────┴────────────────────────────────────┘
                     └──a task failed──▶ Failing ──cause known, or grace over──▶ Broken

A task that the others do not need (the evaluator, an asynchronous worker) is replaced in place, without leaving the
state. Any other failure ends this attempt; `orchestrator.control.failure_policy` says whether another one is worth it.

`moved` is pure: from a state and what a poll brought, to the next state and what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.control.failure_policy import MACHINES
from orchestrator.metric_target import MetricTarget
from workers.messages import PREEMPTED, FailureKind, Task, TaskFailure
from workers.news import Evaluation, LegFinished, LegStarted, ReplicaState, ReplicaStatus, SnapshotReady, Stamp

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
    """Tasks are starting."""

    waiting: frozenset[Task]
    """Tasks that are not ready yet."""
    deadline: float | None = None
    """Monotonic seconds by which all have to be; None while nothing waits for them."""
    seen: Mapping[Task, ReplicaState] = field(default_factory=dict)
    """The last state of every task."""
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
    target: MetricTarget | None = None
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
class Failing:
    since: float
    failures: tuple[TaskFailure, ...]
    replaceable: frozenset[Task] = frozenset()
    """Tasks whose failures are not the cause, unless they are of a kind that no replacement cures."""


@dataclass(frozen=True)
class Broken:
    cause: TaskFailure
    failures: tuple[TaskFailure, ...] = field(default=())


@dataclass(frozen=True)
class Over:
    """The leg ended, and nothing is left to be scored."""

    training: Training


State = Launching | Idle | Training | Over | Failing | Broken


@dataclass(frozen=True)
class Moves:
    """What follows from a move, for the machine to order."""

    score: tuple[Stamp, ...] = ()
    """Snapshots to hand to the evaluator."""
    stop: str | None = None
    """Reason to end the leg."""
    spared: tuple[TaskFailure, ...] = ()
    """Failures to mend by replacing their tasks."""


def moved(state: State, statuses: Sequence[ReplicaStatus], now: float) -> tuple[State, Moves]:
    """The next state after a poll at monotonic time `now`, and what follows from it."""
    failures = tuple(status.failure for status in statuses if status.failure)
    if isinstance(state, Failing):
        _, blamed = _sort(failures, state.replaceable)
        return _weigh(replace(state, failures=_join(state.failures, blamed)), now), Moves()
    spared: tuple[TaskFailure, ...] = ()
    if isinstance(state, Launching | Training):
        state, failures, spared = _spare(state, failures, statuses)
    if failures and not isinstance(state, Broken | Over):
        spareable = state.replaceable if isinstance(state, Launching | Training) else frozenset()
        return _weigh(Failing(now, failures, spareable), now), Moves()
    if isinstance(state, Launching):
        seen = {**state.seen, **{status.task: status.state for status in statuses}}
        ready = {status.task for status in statuses if status.state is ReplicaState.READY}
        waiting = (state.waiting | {failure.task for failure in spared}) - ready
        return (replace(state, waiting=waiting, seen=seen) if waiting else Idle()), Moves(spared=spared)
    if isinstance(state, Training):
        trained, moves = _train(state, statuses)
        return trained, replace(moves, spared=spared)
    return state, Moves()


def _spare(
    state: Launching | Training, failures: tuple[TaskFailure, ...], statuses: Sequence[ReplicaStatus]
) -> tuple[Launching | Training, tuple[TaskFailure, ...], tuple[TaskFailure, ...]]:
    """Set aside the failures that are no reason to end the attempt; returns the others, and those to mend."""
    heard = {status.task for status in statuses if status.failure is None}
    replacing = state.replacing - heard
    spared, left = _sort(failures, state.replaceable)
    if isinstance(state, Training) and (state.finished or _finishes(state.run_id, statuses)):
        # Trained to the end: only the evaluator still has something to do for this run.
        left = tuple(failure for failure in left if failure.task in state.scorers)
        spared = {task: failure for task, failure in spared.items() if task in state.scorers}
    mend = tuple(failure for task, failure in spared.items() if task not in replacing)
    return replace(state, replacing=replacing | set(spared)), left, () if left else mend


def _sort(
    failures: tuple[TaskFailure, ...], replaceable: frozenset[Task]
) -> tuple[dict[Task, TaskFailure], tuple[TaskFailure, ...]]:
    """Failures that a replacement cures, by task, and all others.

    A replaceable task that finds its port taken needs a new port, and then so do all others.
    """
    spared = {f.task: f for f in failures if f.task in replaceable and f.kind in MACHINES}
    return spared, tuple(failure for failure in failures if failure.task not in spared)


def _finishes(run_id: str, statuses: Iterable[ReplicaStatus]) -> bool:
    return any(isinstance(n, LegFinished) and n.run_id == run_id for status in statuses for n in status.news)


def _train(state: Training, statuses: Sequence[ReplicaStatus]) -> tuple[State, Moves]:
    to_score: list[Stamp] = []
    for news in (news for status in statuses for news in status.news):
        match news:
            case LegStarted(run_id=state.run_id):
                state = replace(state, plan=news)
            case SnapshotReady(Stamp(run_id=state.run_id) as stamp):
                state = replace(state, pending=state.pending | {stamp})
                to_score.append(stamp)
            case LegFinished(run_id=state.run_id):
                state = replace(state, finished=news)
    # After all snapshots: an evaluation may come in the same poll as the snapshot that follows it.
    state = scored(state, statuses)
    stop = None
    if not state.finished and not state.stopping:
        if any(status.preempted for status in statuses):
            stop = PREEMPTED
        if state.reached:
            stop = "target"
        state = replace(state, stopping=stop)
    if state.finished and (not state.pending or state.stopping == PREEMPTED):  # no time to wait for scores then
        return Over(state), Moves(tuple(to_score), stop)
    return state, Moves(tuple(to_score), stop)


def scored(state: Training, statuses: Sequence[ReplicaStatus]) -> Training:
    """With the evaluations that a poll brought; they also arrive while another attempt is launched."""
    for news in (news for status in statuses for news in status.news):
        if isinstance(news, Evaluation) and news.stamp in state.pending:
            state = _scored(state, news)
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
