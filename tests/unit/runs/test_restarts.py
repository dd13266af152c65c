"""Random faults in simulated tasks and time: a run reaches its budget or reports why not, and no step is lost.

The coordinator, states, hang watch and policy are real; the tasks train by counting, and keep checkpoints in a dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.control.coordinator import Coordinator, Tick
from orchestrator.control.events import LaunchFailed, RunBegan
from orchestrator.control.failure_policy import MACHINES, FailurePolicy
from orchestrator.control.hangs import HangLimits
from orchestrator.control.machine import Machine, Rules
from orchestrator.control.orders import Ended, GiveUp, Outcome, Ready, Relaunch
from orchestrator.errors import ClusterError, HostLostError, TaskDiedError
from orchestrator.plan.topology import EVALUATOR, TaskPlan
from orchestrator.runs.checkpoints import unseen_checkpoints
from orchestrator.runs.runner import Runner
from orchestrator.runs.watcher import NullWatcher
from orchestrator.spec.run import RunSpec
from tests.made import assignment, leg, status
from tests.unit.control.fake_group import FakeClock
from workers.messages import FailureKind, Leg, Start, Task, TaskFailure
from workers.modes.registry import traits
from workers.news import (
    CheckpointWritten,
    Evaluation,
    LegFinished,
    News,
    ReplicaState,
    ReplicaStatus,
    SnapshotReady,
    Stamp,
    StepBatch,
    Vitals,
)

RUN, BUDGET, INTERVAL, CALL = "r", 300, 40, 5
HANG = 2.0
POLL = 0.25


@dataclass(frozen=True)
class Fault:
    """A fault of a task at one of the run's polls, which include those of launches."""

    poll: int
    task: int
    kind: str


@dataclass
class World:
    """State that outlives a group: time, disk, and pending faults."""

    mode: str
    faults: list[Fault]
    clock: FakeClock = field(default_factory=FakeClock)
    polls: int = 0
    disk: dict[int, int] = field(default_factory=dict)
    """Step of a checkpoint to the attempt that wrote it."""
    applied: list[tuple[int, int]] = field(default_factory=list)
    """Attempt and step of every update."""
    attempt: int = 0
    replaced: int = 0

    def due(self) -> list[Fault]:
        now = [fault for fault in self.faults if fault.poll <= self.polls]
        self.faults = [fault for fault in self.faults if fault.poll > self.polls]
        return now


class CountingGroup(WorkerGroup):
    """A worker group whose tasks train by counting."""

    def __init__(self, world: World, tasks: Sequence[Task]) -> None:
        super().__init__([TaskPlan(task, 1.0, 0.0) for task in tasks])
        self._assignments = {task: assignment(task, mode=world.mode) for task in tasks}
        self.world = world
        self.failed: dict[Task, TaskFailure] = {}
        self.stopped: set[Task] = set()
        self.leg: Leg | None = None
        self.step = 0
        self.ended = False
        self.stop: str | None = None
        self.to_score: list[Stamp] = []

    def poll(self, wait: float) -> list[ReplicaStatus]:
        is_evaluator = self.tasks == (EVALUATOR,)
        if not is_evaluator:
            self.world.clock.now += max(wait, POLL)
            self.world.polls += 1
            for fault in self.world.due():
                self.strike(fault)
        news = self._score() if is_evaluator else self._train()
        return [self._status(task, news if task == self.tasks[0] else []) for task in self.tasks]

    def strike(self, fault: Fault) -> None:
        task = self.tasks[fault.task % len(self.tasks)]
        if task in self.failed:
            return
        if fault.kind == "stop":
            self.stopped.add(task)
            return
        kind = FailureKind(fault.kind)
        self.failed[task] = TaskFailure(task, kind, kind)
        replaceable = self.world.mode == "async" and task.type == "worker"
        if not replaceable:
            for other in self.tasks:
                if other != task and other not in self.stopped and self.world.mode == "sync":
                    self.failed.setdefault(other, TaskFailure(other, FailureKind.PEER, "lost its peer"))

    def _status(self, task: Task, news: list[News]) -> ReplicaStatus:
        if task in self.failed:
            return ReplicaStatus(task, ReplicaState.FAILED, failure=self.failed[task])
        vitals = Vitals("T" if task in self.stopped else "S", 0.0)
        state = ReplicaState.READY if self.leg is None or task.type != "worker" else ReplicaState.TRAINING
        return status(task, *(news if task not in self.stopped else []), state=state, vitals=vitals)

    def _train(self) -> list[News]:
        if self.leg is None or self.ended:
            return []
        lost = [task for task in self.tasks if task in self.failed or task in self.stopped]
        workers = [task for task in self.tasks if task.type == "worker" and task not in lost]
        needed = self.tasks if self.world.mode == "sync" else self.tasks[:2]
        if any(task in lost for task in needed) or not workers:
            return []
        world = self.world
        news: list[News] = []
        for worker in workers if world.mode == "async" else workers[:1]:
            steps = np.arange(self.step + 1, min(BUDGET, self.step + CALL) + 1)
            if len(steps):
                self.step = int(steps[-1])
                world.applied += [(world.attempt, int(step)) for step in steps]
                news.append(StepBatch(RUN, worker.index, steps, steps / 10.0, np.ones(len(steps)), None, POLL))
        if self.step // INTERVAL > max(world.disk, default=0) // INTERVAL:
            world.disk[self.step] = world.attempt
            news.append(CheckpointWritten(RUN, world.attempt, self.step, self.step, 0.0, "c", 1, 0.0))
        if self.step >= BUDGET or self.stop:
            self.ended = True
            news.append(SnapshotReady(Stamp(RUN, self.step, self.step, self.step / 10.0, final=True)))
            news.append(LegFinished(RUN, self.step, self.step, self.step / 10.0, self.stop, self.step))
        return news

    def _score(self) -> list[News]:
        if EVALUATOR in self.failed or EVALUATOR in self.stopped:
            return []
        scored, self.to_score = self.to_score, []
        return [Evaluation(stamp, {"val_loss": 1.0}, 0.1) for stamp in scored]

    def shutdown(self) -> None: ...

    def _renew(self, task: Task) -> None:
        self.world.replaced += 1
        self.failed.pop(task, None)
        self.stopped.discard(task)
        self.to_score = []

    def _ask(self, task: Task, method: str, *arguments: object) -> object:
        if method == "train" and isinstance(arguments[0], Leg):
            self.leg = arguments[0]
            self.step = self.leg.start.step if self.leg.start else 0
        elif method == "score" and isinstance(arguments[0], Stamp):
            self.to_score.append(arguments[0])
        elif method == "request_stop":
            self.stop = str(arguments[0])
        return None

    def _answer(self, asked: object) -> object:
        return asked


def simulate(world: World, max_restarts: int) -> tuple[Ended | None, list[TaskFailure]]:
    """Simulate a run from launch to end, as `orchestrator.runs.runner` does; returns the causes of restarts too."""
    mode = traits(world.mode)
    tasks = mode.tasks(3, 1)
    rules = Rules(FailurePolicy(max_restarts=max_restarts), HangLimits(HANG, HANG))
    group, evaluator = CountingGroup(world, tasks), CountingGroup(world, [EVALUATOR])
    coordinator = Coordinator(group, evaluator, mode, Machine(rules), world.clock)
    coordinator.begin_run(RunBegan(RUN))
    causes: list[TaskFailure] = []

    def listen(_: Tick) -> None: ...

    def attempt() -> Outcome:
        outcome = coordinator.await_ready(world.clock.now + 120, listen)
        if not isinstance(outcome, Ready):
            return outcome
        step = max(world.disk, default=0)
        start = Start(step, step, coordinator.progress.clock(world.clock.now))
        return coordinator.train(leg(RUN, start=start), None, None, listen)

    while True:
        world.attempt += 1
        match attempt():
            case Ended() as ended:
                return ended, causes
            case GiveUp(cause):
                return None, [*causes, cause]
            case Relaunch(cause, wait=wait):
                causes.append(cause)
                world.clock.now += wait
                coordinator.renew(CountingGroup(world, tasks))


FAULTS = st.lists(
    st.builds(
        Fault,
        poll=st.integers(1, 120),
        task=st.integers(0, 4),
        kind=st.sampled_from(
            ["infrastructure", "infrastructure", "stop", "stop", "out_of_memory", "address_taken", "user"]
        ),
    ),
    max_size=12,
)


@given(mode=st.sampled_from(["sync", "async"]), faults=FAULTS, max_restarts=st.integers(0, 4))
@settings(max_examples=120, deadline=None)
def test_a_run_reaches_its_budget_or_reports_why_not(mode: str, faults: list[Fault], max_restarts: int) -> None:
    world = World(mode, sorted(faults, key=lambda fault: fault.poll))
    ended, causes = simulate(world, max_restarts)
    if ended is None:
        # Given up after a failure that no restart cures, or after all allowed restarts.
        assert causes[-1].kind not in MACHINES or len(causes) > max_restarts
    else:
        assert ended.finished.steps == BUDGET
        assert all(cause.kind is not FailureKind.USER for cause in causes)
        assert {step for _, step in world.applied} == set(range(1, BUDGET + 1)), "no step is lost"
    # Every attempt continues from the last checkpoint, so it repeats less than an interval and a call of each worker.
    for attempt in range(2, world.attempt + 1):
        before = [step for number, step in world.applied if number < attempt]
        mine = [step for number, step in world.applied if number == attempt]
        if before and mine:
            assert max(before) - min(mine) < INTERVAL + 3 * CALL
            assert min(mine) <= max(before) + 1


def test_without_faults_there_are_no_restarts() -> None:
    for mode in ("sync", "async"):
        world = World(mode, [])
        ended, causes = simulate(world, 3)
        assert ended is not None
        assert (causes, world.attempt, world.replaced) == ([], 1, 0)


@pytest.mark.parametrize(("task", "attempts", "replaced"), [(0, 2, 0), (1, 2, 0), (2, 1, 1), (4, 1, 1)])
@pytest.mark.parametrize("kind", ["stop", "infrastructure", "out_of_memory"])
def test_in_async_mode_only_faults_of_chief_and_ps_end_the_attempt(
    kind: str, task: int, attempts: int, replaced: int
) -> None:
    world = World("async", [Fault(8, task, kind)])
    ended, causes = simulate(world, 3)
    assert ended is not None
    assert (world.attempt, world.replaced, len(causes)) == (attempts, replaced, attempts - 1)


def test_a_run_that_crashes_at_every_launch_is_given_up() -> None:
    world = World("sync", [Fault(poll, 1, "infrastructure") for poll in range(1, 400)])
    ended, causes = simulate(world, 3)
    assert ended is None
    assert len(causes) == 4


class Group:
    """A group that breaks at its first launch, and whose next `refusals` relaunches fail."""

    def __init__(self, refusals: int, error: type[ClusterError] = ClusterError) -> None:
        self.attempt, self.refusals, self.error, self.broken = 1, refusals, error, False
        self.spec = RunSpec(job="digits")
        self.machine = Machine(Rules())
        self.coordinator = self

    def begin_run(self, began: RunBegan) -> None:
        self.machine.advance(began, 0.0)

    def await_ready(self, _deadline: float, _listen: object) -> Outcome:
        if self.broken:
            return Ready()
        self.broken = True
        return self.launch_failed(TaskFailure(Task("worker", 1), FailureKind.INFRASTRUCTURE, "was killed"))

    def launch_failed(self, failure: TaskFailure) -> Outcome:
        (outcome,) = self.machine.advance(LaunchFailed(failure), 0.0)
        assert isinstance(outcome, Relaunch | GiveUp)
        return outcome

    def relaunch(self) -> None:
        self.attempt += 1
        self.refusals -= 1
        if self.refusals >= 0:
            raise self.error("the network is cut.")


def runner_of(folder: Path, waits: list[float]) -> Runner:
    spec = RunSpec.make({"job": "digits", "samples": 100})
    runner = Runner(spec, folder, "r", NullWatcher(), {}, command_started=None, deadline=None)
    runner._restarts._sleep = waits.append
    return runner


def test_a_failed_launch_is_retried_within_the_retry_budget(tmp_path: Path) -> None:
    waits: list[float] = []
    group: Any = Group(refusals=2)
    runner = runner_of(tmp_path, waits)
    runner.await_ready(group, 0.0)
    assert (group.attempt, waits) == (4, [0.0, 1.0, 2.0])
    failures = runner.abandon(KeyboardInterrupt()).failures
    assert [failure.summary for failure in failures][1:] == [
        "another attempt could not be launched: the network is cut."
    ] * 2


@pytest.mark.parametrize(
    ("error", "attempts", "words"), [(ClusterError, 4, "--max-restarts"), (HostLostError, 2, "cut")]
)
def test_a_launch_that_never_succeeds_is_given_up(
    error: type[ClusterError], attempts: int, words: str, tmp_path: Path
) -> None:
    group: Any = Group(refusals=100, error=error)
    runner = runner_of(tmp_path, [])
    with pytest.raises(TaskDiedError, match=words) as raised:
        runner.await_ready(group, 0.0)
    assert group.attempt == attempts
    assert str(raised.value).startswith("worker:1 failed: ")
    runner.abandon(raised.value)


def test_checkpoints_that_only_another_host_sees_cause_a_warning(tmp_path: Path) -> None:
    """Without a shared folder, a restart would begin at step 0."""
    assert "--checkpoints" in (unseen_checkpoints(str(tmp_path)) or "")
    assert unseen_checkpoints("s3://bucket/folder") is None
    (tmp_path / "0000000100-1").mkdir()
    (tmp_path / "0000000100-1" / "manifest.json").touch()
    assert unseen_checkpoints(str(tmp_path)) is None
