"""The states of a worker group, each carrying its data, and the transitions between them.

    Launching ──all ready──▶ Idle ──train──▶ Training ──budget, target, stop──▶ (scoring) ──all scored──▶ Completed
        └────────────┬─────────────────────────┴────────────────────────────────────┘
                     └──a task failed──▶ Failing ──cause known, or grace over──▶ Broken

A task that the others do not need (the evaluator, an asynchronous worker) is replaced while the group stays in its
state. Any other failure ends this attempt; `orchestrator.control.failure_policy` decides whether another one follows.

`next_state` is pure: from a state and a poll, it computes the next state and the effects to carry out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.control.failure_policy import MACHINES
from orchestrator.metric_target import MetricTarget
from workers.messages import PREEMPTED, TO_BE_RESUMED, FailureKind, Task, TaskFailure, Waits
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
"""Kinds of failure, the likeliest cause first: a task reports a lost peer after that peer has failed."""


@dataclass(frozen=True)
class Launching:
    """Tasks are starting."""

    waiting: frozenset[Task]
    """Tasks that are not ready yet."""
    deadline: float | None = None
    """Monotonic seconds by which all must be ready; None before the coordinator waits for them."""
    seen: Mapping[Task, ReplicaState] = field(default_factory=dict)
    """The last reported state of every task."""
    where: Mapping[Task, str] = field(default_factory=dict)
    """Where tasks wait that have said so."""
    replaceable: frozenset[Task] = frozenset()
    replacing: frozenset[Task] = frozenset()
    """Failed tasks whose replacement was ordered and has not reported yet."""

    @property
    def missing(self) -> str:
        """The tasks that are not ready, with what is known of each."""
        return ", ".join(f"{task} ({self._known(task)})" for task in sorted(self.waiting))

    def _known(self, task: Task) -> str:
        return "; ".join(filter(None, (str(self.seen.get(task, "silent")), self.where.get(task))))


@dataclass(frozen=True)
class Idle:
    """Every task is ready for a leg."""


@dataclass(frozen=True)
class Training:
    """A leg is training, or it has ended and its snapshots are being scored (`finished` is set)."""

    run_id: str
    target: MetricTarget | None = None
    plan: LegStarted | None = None
    finished: LegFinished | None = None
    pending: frozenset[Stamp] = frozenset()
    """Snapshots that are not scored yet."""
    reached: Evaluation | None = None
    """The earliest evaluation that met the target."""
    last: Evaluation | None = None
    """The evaluation of the latest snapshot that is scored."""
    stopping: str | None = None
    """Reason for which the leg was told to stop."""
    replaceable: frozenset[Task] = frozenset()
    """Tasks without which training continues until they are replaced."""
    scorers: frozenset[Task] = frozenset()
    """Tasks that are still needed after the last step: the evaluator."""
    replacing: frozenset[Task] = frozenset()
    """Failed tasks whose replacement was ordered and has not reported yet."""


@dataclass(frozen=True)
class Failing:
    """The attempt has failed, and its cause may not be known yet."""

    since: float
    """Monotonic seconds."""
    failures: tuple[TaskFailure, ...]
    replaceable: frozenset[Task] = frozenset()
    """Tasks whose failures are not the cause, unless replacing the task would not cure them."""


@dataclass(frozen=True)
class Broken:
    """The attempt has ended because of `cause`."""

    cause: TaskFailure
    failures: tuple[TaskFailure, ...] = field(default=())


@dataclass(frozen=True)
class Completed:
    """The leg has ended, and its snapshots are scored."""

    training: Training


State = Launching | Idle | Training | Completed | Failing | Broken


@dataclass(frozen=True)
class Effects:
    """What follows from a transition, for the machine to order."""

    score: tuple[Stamp, ...] = ()
    """Snapshots to hand to the evaluator."""
    stop: str | None = None
    """Reason to end the leg."""
    to_replace: tuple[TaskFailure, ...] = ()
    """Failures whose tasks are to be replaced."""


def next_state(state: State, statuses: Sequence[ReplicaStatus], now: float) -> tuple[State, Effects]:
    """The next state after a poll at monotonic time `now`, and the effects."""
    failures = tuple(status.failure for status in statuses if status.failure)
    if isinstance(state, Failing):
        _, fatal = _split(failures, state.replaceable)
        return _diagnose(replace(state, failures=_merge(state.failures, fatal)), now), Effects()
    to_replace: tuple[TaskFailure, ...] = ()
    if isinstance(state, Launching | Training):
        state, failures, to_replace = _tolerate(state, failures, statuses)
    if failures and not isinstance(state, Broken | Completed):
        replaceable = state.replaceable if isinstance(state, Launching | Training) else frozenset()
        return _diagnose(Failing(now, failures, replaceable), now), Effects()
    if isinstance(state, Launching):
        seen = {**state.seen, **{status.task: status.state for status in statuses}}
        ready = {status.task for status in statuses if status.state is ReplicaState.READY}
        waiting = (state.waiting | {failure.task for failure in to_replace}) - ready
        waits = (news for status in statuses for news in status.news if isinstance(news, Waits))
        where = {**state.where, **{news.task: news.where for news in waits}}
        following = replace(state, waiting=waiting, seen=seen, where=where) if waiting else Idle()
        return following, Effects(to_replace=to_replace)
    if isinstance(state, Training):
        trained, effects = _train(state, statuses)
        return trained, replace(effects, to_replace=to_replace)
    return state, Effects()


def _tolerate(
    state: Launching | Training, failures: tuple[TaskFailure, ...], statuses: Sequence[ReplicaStatus]
) -> tuple[Launching | Training, tuple[TaskFailure, ...], tuple[TaskFailure, ...]]:
    """Separate the failures that need not end the attempt; returns the fatal ones, and those newly to be cured."""
    alive = {status.task for status in statuses if status.failure is None}
    replacing = state.replacing - alive
    curable, fatal = _split(failures, state.replaceable)
    if isinstance(state, Training) and (state.finished or _finishes(state.run_id, statuses)):
        # After the last step, the run needs only the evaluator.
        fatal = tuple(failure for failure in fatal if failure.task in state.scorers)
        curable = {task: failure for task, failure in curable.items() if task in state.scorers}
    # What is heard of a task before its replacement reports is old; but one that never reports has failed as well.
    to_replace = tuple(f for task, f in curable.items() if task not in replacing or f.kind is FailureKind.HUNG)
    return replace(state, replacing=replacing | set(curable)), fatal, () if fatal else to_replace


def _split(
    failures: tuple[TaskFailure, ...], replaceable: frozenset[Task]
) -> tuple[dict[Task, TaskFailure], tuple[TaskFailure, ...]]:
    """Failures that replacing their task would cure, by task, and all others.

    A taken port is among the others: the task needs a new port, of which every other task has to be told.
    """
    curable = {f.task: f for f in failures if f.task in replaceable and f.kind in MACHINES}
    return curable, tuple(failure for failure in failures if failure.task not in curable)


def _finishes(run_id: str, statuses: Iterable[ReplicaStatus]) -> bool:
    return any(isinstance(n, LegFinished) and n.run_id == run_id for status in statuses for n in status.news)


def _train(state: Training, statuses: Sequence[ReplicaStatus]) -> tuple[State, Effects]:
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
    # Evaluations come last, because the same poll may contain the snapshot that an evaluation is about.
    state = with_scores(state, statuses)
    stop = None
    if not state.finished and not state.stopping:
        if any(status.preempted for status in statuses):
            stop = PREEMPTED
        if state.reached:
            stop = "target"
        state = replace(state, stopping=stop)
    if state.finished and (not state.pending or state.stopping in TO_BE_RESUMED):  # no time to wait for scores then
        return Completed(state), Effects(tuple(to_score), stop)
    return state, Effects(tuple(to_score), stop)


def with_scores(state: Training, statuses: Sequence[ReplicaStatus]) -> Training:
    """`state` with the evaluations of a poll, which also arrive while another attempt is launched."""
    for news in (news for status in statuses for news in status.news):
        if isinstance(news, Evaluation) and news.stamp in state.pending:
            state = _with_score(state, news)
    return state


def _with_score(state: Training, evaluation: Evaluation) -> Training:
    state = replace(state, pending=state.pending - {evaluation.stamp})
    last = state.last.stamp if state.last else None
    # After a restart, the run may end before a step whose snapshot the previous attempt took.
    if last is None or evaluation.stamp.final or (not last.final and evaluation.stamp.step >= last.step):
        state = replace(state, last=evaluation)
    value = evaluation.metrics.get(state.target.metric) if state.target else None
    if state.target is None or value is None or not state.target.met_by(value):
        return state
    if state.reached is None or evaluation.stamp.step < state.reached.stamp.step:
        state = replace(state, reached=evaluation)
    return state


def _diagnose(state: Failing, now: float) -> Failing | Broken:
    """`Broken` once a cause other than a lost peer is known, or none became known within the grace period."""
    known = any(failure.kind is not FailureKind.PEER for failure in state.failures)
    if not known and now - state.since < CAUSE_GRACE_SECONDS:
        return state
    cause = min(state.failures, key=lambda failure: _CAUSES.index(failure.kind))
    return Broken(cause, state.failures)


def _merge(known: tuple[TaskFailure, ...], new: Iterable[TaskFailure]) -> tuple[TaskFailure, ...]:
    tasks = {failure.task for failure in known}
    return known + tuple(failure for failure in new if failure.task not in tasks)
