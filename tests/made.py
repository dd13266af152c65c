"""Settings, legs, assignments and statuses as tests need them: few words, real types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workers.messages import Assignment, Leg, Task
from workers.news import News, ReplicaState, ReplicaStatus, SnapshotReady, Stamp
from workers.settings import ReplicaSettings


def settings(job: str = "digits", **fields: Any) -> ReplicaSettings:
    return ReplicaSettings(job=job, **fields)


def leg(run_id: str = "r", *, of: ReplicaSettings | None = None, **fields: Any) -> Leg:
    return Leg(run_id, of or settings(samples=6400), **fields)


def assignment(task: Task, tf_config: Mapping[str, Any] | None = None, **fields: Any) -> Assignment:
    return Assignment(task, settings(**fields), tf_config or {})


def in_order(**kinds: Iterable[News | Stamp]) -> tuple[News, ...]:
    """News of several kinds, in the order of the arguments; stamps are those of snapshots to be scored."""
    everything = (one for news in kinds.values() for one in news)
    return tuple(SnapshotReady(one) if isinstance(one, Stamp) else one for one in everything)


def status(task: Task, *news: News, state: ReplicaState = ReplicaState.TRAINING, **fields: Any) -> ReplicaStatus:
    return ReplicaStatus(task, state, news, **fields)
