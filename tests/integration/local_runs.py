"""Training runs with real TensorFlow processes under the real coordinator, without Ray in between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.cluster.worker_group import LocalGroup
from orchestrator.control.coordinator import Coordinator, Tick
from orchestrator.control.states import Ended
from orchestrator.plan import topology
from orchestrator.plan.topology import training_plans
from orchestrator.runs.assignments import assigner
from orchestrator.runs.checkpoints import checkpointing, go_on
from orchestrator.spec.run import make_run_spec
from workers.addresses import join, split
from workers.messages import PREEMPTED, CheckpointFailed, CheckpointWritten, Evaluation, Leg, Stamp, StepBatch
from workers.snapshot import Snapshot

JOBS = Path(__file__).parent / "jobs_under_test"
SESSION = f"tests-{time.monotonic_ns():x}"
"""One zygote serves the whole test session: TensorFlow is imported once."""


@dataclass
class Trained:
    """All that one leg sent."""

    ended: Ended | None = None
    batches: list[StepBatch] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    checkpoints: list[CheckpointWritten | CheckpointFailed] = field(default_factory=list)
    snapshots: dict[Stamp, Snapshot] = field(default_factory=dict)
    log: dict[str, bytes] = field(default_factory=dict)
    """By task, of the whole group so far."""

    @property
    def losses(self) -> np.ndarray:
        """By step."""
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

    def snapshot(self, task: topology.Task, stamp: Stamp) -> Snapshot:
        self.kept[stamp] = super().snapshot(task, stamp)
        return self.kept[stamp]


class ApartGroup(KeepingGroup):
    """Every task has a loopback address of its own, as if it were on another host."""

    def _ask(self, task: topology.Task, method: str, *arguments: Any) -> Any:
        if method == "unreachable":
            return ()  # what holds a loopback port does not listen there
        answer = super()._ask(task, method, *arguments)
        return join(f"127.0.0.{task.index + 2}", split(answer)[1]) if method == "reserve" else answer


def train(
    job: str,
    seeds: Iterable[int] = (0,),
    *,
    kind: type[KeepingGroup] = KeepingGroup,
    steps_per_call: int | None = None,
    folder: Path | None = None,
    attempt: int | None = None,
    preempted_at: int | None = None,
    **fields: Any,
) -> list[Trained]:
    """Train one leg per seed in one launched group; `fields` are the spec's, `folder` the run's.

    With an `attempt` there are checkpoints in `folder`, and a later one than the first goes on from the last of them.
    At step `preempted_at` the leg is told to end.
    """
    spec = make_run_spec({"job": job, "directory": str(JOBS), **fields})
    plans = training_plans(spec)
    evaluator_plan = topology.plan_evaluator(1)
    group = kind(plans, SESSION)
    evaluator = LocalGroup([evaluator_plan], SESSION)
    results: list[Trained] = []
    log: dict[str, bytes] = {}
    try:
        coordinator = Coordinator(
            group,
            evaluator,
            leader=topology.leader(spec.mode),
            trainers=topology.trainers(spec.mode, spec.workers),
        )

        def listen(tick: Tick) -> None:
            for status in tick.statuses:
                log[str(status.task)] = log.get(str(status.task), b"") + status.log
                if results:
                    results[-1].batches += status.batches
                    results[-1].evaluations += status.evaluations
                    results[-1].checkpoints += status.checkpoints
                    steps = max((int(batch.steps.max()) for batch in status.batches), default=0)
                    if preempted_at is not None and steps >= preempted_at:
                        coordinator.stop(PREEMPTED)

        evaluator.launch(assigner(spec, (evaluator_plan,)))
        coordinator.launch(assigner(spec, plans))
        coordinator.await_ready(time.monotonic() + 60, listen)
        for seed in seeds:
            trained = Trained(log=log)
            results.append(trained)
            leg = Leg(
                run_id=f"seed-{seed}",
                seed=seed,
                samples=spec.samples,
                epochs=spec.epochs,
                eval_every=spec.eval_every,
                steps_per_call=steps_per_call,
                directory=str(folder) if folder else None,
            )
            snapshot = None
            if attempt is not None and folder is not None:
                leg = replace(leg, attempt=attempt, checkpoints=checkpointing(spec, leg.run_id, folder))
            if attempt is not None and attempt > 1:
                going = go_on(leg, attempt, 0.0)
                leg, snapshot = going.leg, going.snapshot
            trained.ended = coordinator.run(leg, spec.parsed_target, time.monotonic() + 90, listen, snapshot)
            trained.snapshots = group.kept
            group.kept = {}
    except Exception:
        print(_tails(log))
        raise
    finally:
        group.shutdown()
        evaluator.shutdown()
    return results


def _tails(log: Mapping[str, bytes]) -> str:
    return "\n".join(f"--- {task}\n{text[-3000:].decode(errors='replace')}" for task, text in log.items())
