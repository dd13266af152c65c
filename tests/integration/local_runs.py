"""Training runs with real TensorFlow processes under the real coordinator, without Ray in between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.cluster.local import LocalBackend
from orchestrator.cluster.local_group import LocalGroup
from orchestrator.control.coordinator import Tick
from orchestrator.control.orders import Ended, GiveUp, Outcome, Relaunch
from orchestrator.plan.placement import Bundle
from orchestrator.plan.topology import TaskPlan
from orchestrator.runs.checkpoints import Resumed, checkpointing, resume_point
from orchestrator.runs.session import Session
from orchestrator.spec.run import RunSpec
from workers.addresses import join, split
from workers.messages import PREEMPTED, Leg, Start, Task, TaskFailure
from workers.news import CheckpointFailed, CheckpointWritten, Evaluation, News, Stamp, StepBatch
from workers.snapshot import Snapshot

JOBS = Path(__file__).parent / "jobs_under_test"
SESSION = f"tests-{time.monotonic_ns():x}"
"""One zygote serves the whole test session: TensorFlow is imported once."""


@dataclass
class Trained:
    """All news of one leg."""

    ended: Ended | None = None
    batches: list[StepBatch] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    checkpoints: list[CheckpointWritten | CheckpointFailed] = field(default_factory=list)
    snapshots: dict[Stamp, Snapshot] = field(default_factory=dict)
    log: dict[str, bytes] = field(default_factory=dict)
    """Log of each task of the group so far."""

    def add(self, news: Iterable[News]) -> None:
        for one in news:
            match one:
                case StepBatch():
                    self.batches.append(one)
                case Evaluation():
                    self.evaluations.append(one)
                case CheckpointWritten() | CheckpointFailed():
                    self.checkpoints.append(one)

    @property
    def step(self) -> int:
        """The last step that was reported."""
        return max((int(batch.steps.max()) for batch in self.batches), default=0)

    @property
    def losses(self) -> np.ndarray:
        """Losses of all steps, sorted by step."""
        steps = np.concatenate([batch.steps for batch in self.batches])
        return np.concatenate([batch.losses for batch in self.batches])[np.argsort(steps)]

    @property
    def steps(self) -> np.ndarray:
        return np.sort(np.concatenate([batch.steps for batch in self.batches]))

    @property
    def staleness(self) -> np.ndarray:
        return np.concatenate([batch.staleness for batch in self.batches])

    @property
    def final(self) -> Snapshot:
        return next(snapshot for stamp, snapshot in self.snapshots.items() if stamp.final)


class KeepingGroup(LocalGroup):
    """Keeps a copy of every snapshot that passes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: dict[Stamp, Snapshot] = {}

    def snapshot(self, task: Task, stamp: Stamp) -> Snapshot:
        self.kept[stamp] = super().snapshot(task, stamp)
        return self.kept[stamp]

    def pid(self, task: str) -> int:
        """Pid of the task's process."""
        return next(replica._pid() or 0 for name, replica in self._replicas.items() if str(name) == task)


class ApartGroup(KeepingGroup):
    """Every task has a loopback address of its own, as if it were on another host."""

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        if method == "unreachable":
            return ()  # what holds a loopback port does not listen there
        answer = super()._ask(task, method, *arguments)
        return join(f"127.0.0.{task.index + 2}", split(answer)[1]) if method == "reserve" else answer


class ObservedBackend(LocalBackend):
    """The local backend, whose groups tests can inspect; all share the test session's zygote."""

    def __init__(self, kind: type[KeepingGroup] = KeepingGroup) -> None:
        super().__init__(SESSION)
        self.kind = kind
        self.groups: list[KeepingGroup] = []
        """The evaluator's first, and one for every attempt."""

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> KeepingGroup:
        self.groups.append(self.kind(plans, SESSION))
        return self.groups[-1]


def opened(spec: RunSpec, backend: LocalBackend) -> Session:
    """A session for one variant on `backend`."""
    return Session([spec], name=SESSION, opens=lambda *_: backend)


def train(
    job: str,
    seeds: Iterable[int] = (0,),
    *,
    kind: type[KeepingGroup] = KeepingGroup,
    folder: Path | None = None,
    attempt: int | None = None,
    preempted_at: int | None = None,
    modes: tuple[str, ...] = (),
    since: Snapshot | None = None,
    **fields: Any,
) -> list[Trained]:
    """Train one leg per seed in one launched group; `fields` are the spec's, `folder` the run's.

    With an `attempt` there are checkpoints in `folder`, and a later one than the first continues from the last of them.
    At step `preempted_at` the leg is told to end; checkpoints may be of `modes` too. `since` is a snapshot, of any
    mode, to continue from.
    """
    spec = RunSpec.make({"job": job, "directory": str(JOBS), **fields})
    backend = ObservedBackend(kind)
    results: list[Trained] = []
    log: dict[str, bytes] = {}
    try:
        with opened(spec, backend) as session:
            managed = session.groups[spec.variant_name]
            managed.launch()
            coordinator = managed.coordinator

            def listen(tick: Tick) -> None:
                for status in tick.statuses:
                    log[str(status.task)] = log.get(str(status.task), b"") + status.log
                    if results:
                        results[-1].add(status.news)
                if results and preempted_at is not None and results[-1].step >= preempted_at:
                    coordinator.stop(PREEMPTED)

            settled(coordinator.await_ready(time.monotonic() + spec.launch_timeout, listen))
            for seed in seeds:
                trained = Trained(log=log)
                results.append(trained)
                settings = spec.replica.model_copy(update={"seed": seed})
                leg = Leg(f"seed-{seed}", settings, directory=str(folder) if folder else None)
                snapshot = since
                if attempt is not None and folder is not None:
                    checkpoints = checkpointing(spec, leg.run_id, folder, spec.workers)
                    leg = replace(leg, attempt=attempt, checkpoints=checkpoints)
                if since is not None:
                    leg = replace(leg, start=Start(since.step, since.samples, since.clock, position=since.position))
                if attempt is not None and attempt > 1:
                    point = resume_point(leg, Resumed(attempt, 0.0, modes=modes))
                    leg, snapshot = point.leg, point.snapshot
                deadline = time.monotonic() + 300
                ended = settled(coordinator.train(leg, spec.parsed_target, deadline, listen, snapshot))
                trained.ended = ended if isinstance(ended, Ended) else None
                trained.snapshots, backend.groups[-1].kept = backend.groups[-1].kept, {}
    except Exception:
        print(_tails(log))
        raise
    return results


class Broken(Exception):  # noqa: N818 - a state of the group
    """An attempt broke."""

    def __init__(self, cause: TaskFailure) -> None:
        super().__init__(f"{cause.task}: {cause.summary}")
        self.cause = cause


def settled(outcome: Outcome) -> Outcome:
    """Return `outcome`, or raise Broken if the attempt broke."""
    if isinstance(outcome, Relaunch | GiveUp):
        raise Broken(outcome.cause)
    return outcome


def _tails(log: Mapping[str, bytes]) -> str:
    return "\n".join(f"--- {task}\n{text[-3000:].decode(errors='replace')}" for task, text in log.items())
