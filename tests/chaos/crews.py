"""Whole runs, with restarts, in launched groups without Ray: real TensorFlow processes under the real runner."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.worker_group import Assign, LocalGroup
from orchestrator.control.coordinator import Tick
from orchestrator.plan.placement import Host, Place, Room, Strategy
from orchestrator.plan.topology import TaskPlan, evaluator_plan, training_plans
from orchestrator.results import RunResult
from orchestrator.runs.assignments import assigner
from orchestrator.runs.fleet import Crew
from orchestrator.runs.group_places import Seating
from orchestrator.runs.runner import Runner
from orchestrator.spec.run import RunSpec, make_run_spec
from tests.chaos.checker import check_nothing_left
from tests.integration.local_runs import JOBS, SESSION
from workers.messages import Assignment, Task

_NUMBERS = itertools.count()


class Onlooker:
    """Sees every poll of a run; what it does then is up to whoever made it."""

    def __init__(self) -> None:
        self.pids: dict[Task, int] = {}
        self.told: list[str] = []
        """What a person would have been told of failures."""
        self.step = 0
        """The latest update that was reported."""
        self.attempt_pids: set[int] = set()
        """Of all processes there ever were."""
        self.acts: list[Callable[[Onlooker], None]] = []
        """Called at every poll while training."""
        self.launch_acts: list[Callable[[Onlooker], None]] = []
        """Called at every poll while launching."""

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None: ...

    def launching(self, tick: Tick) -> None:
        self._look(tick)
        for act in self.launch_acts:
            act(self)

    def training(self, tick: Tick) -> None:
        self._look(tick)
        for act in self.acts:
            act(self)

    def recovering(self, run_id: str, text: str) -> None:
        self.told.append(text)

    def run_ended(self, result: RunResult) -> None: ...

    def send(self, task: Task, number: signal.Signals) -> bool:
        """A signal to the task's process; False if it is gone."""
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self.pids[task], number)
            return True
        return False

    def _look(self, tick: Tick) -> None:
        for status in tick.statuses:
            if status.pid is not None and status.failure is None:
                self.pids[status.task] = status.pid
                self.attempt_pids.add(status.pid)
            for batch in status.batches:
                if len(batch.steps):
                    self.step = int(batch.steps[-1])


class LocalFleet:
    """Stands in for a Fleet: the evaluator, and groups, in this process. Every task has a host of its own, in name."""

    def __init__(self, spec: RunSpec, session: str = SESSION) -> None:
        self._session = session
        self.lost: set[str] = set()
        """Ids of hosts that are out of reach."""
        self.addresses: set[str] = set()
        """Of all tasks there ever were."""
        plans = (evaluator_plan(spec),)
        self.evaluator = LocalGroup(plans, session)
        self.evaluator.launch(assigner(spec, plans))

    def check_head(self) -> None: ...

    def seating(self, spec: RunSpec) -> Seating:
        hosts = [Host(str(plan.task), str(plan.task), "", Room(1), Room(0)) for plan in training_plans(spec)]
        return Seating(spec, [Place(None, index, host) for index, host in enumerate(hosts)], self)

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> None:
        """No host has room for another task."""

    def answers(self, place: Place) -> bool:
        return place.host.id not in self.lost

    def group(self, plans: tuple[TaskPlan, ...], places: Sequence[Place]) -> LocalGroup:
        return _Noting(plans, self._session, self, [place.host for place in places])


class _Noting(LocalGroup):
    """Notes the addresses of its tasks."""

    def __init__(self, plans: tuple[TaskPlan, ...], session: str, fleet: LocalFleet, hosts: Sequence[Host]) -> None:
        super().__init__(plans, session)
        self._noted = fleet.addresses
        self._fleet, self._hosts = fleet, hosts

    def lost_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self._hosts if host.id in self._fleet.lost)

    def launch(self, assign: Assign) -> None:
        def noting(task: Task, addresses: Mapping[Task, str]) -> Assignment:
            self._noted.update(addresses.values())
            return assign(task, addresses)

        super().launch(noting)


@contextlib.contextmanager
def launched(path: Path, onlooker: Onlooker, **fields: Any) -> Iterator[tuple[Runner, Crew, LocalFleet]]:
    """A run in folder `path`, ready to train; `fields` are the spec's."""
    spec = make_run_spec({"directory": str(JOBS), **fields})
    path.mkdir(parents=True, exist_ok=True)
    fleet = LocalFleet(spec)
    crew = Crew(fleet, spec, fleet.seating(spec))  # type: ignore[arg-type]
    run_id = f"{path.name}-{os.getpid()}-{next(_NUMBERS)}"
    runner = Runner(spec, path, run_id, onlooker, {}, command_started=None, deadline=time.monotonic() + 240)
    try:
        runner.prepare(crew)
        runner.await_ready(crew, time.monotonic() + spec.launch_timeout)
        yield runner, crew, fleet
    except BaseException as error:
        runner.abandon(error)
        for log in sorted((path / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        raise
    finally:
        crew.shutdown()
        fleet.evaluator.shutdown()


BATCH, CALL = 32, 20


def run(path: Path, onlooker: Onlooker, *, steps: int = 1200, interval: int = 100, **fields: Any) -> RunResult:
    """One run of two workers for so many `steps`, with a checkpoint every `interval` steps; leaves nothing behind."""
    per_step = 2 * BATCH if fields["mode"] == "sync" else BATCH
    fields = {
        "job": "exact.py",
        "workers": 2,
        "batch_size": BATCH,
        "steps_per_call": CALL,
        "samples": steps * per_step,
        "eval_every": steps * per_step // 4,
        "checkpoint_every": interval * per_step,
        "hang_seconds": 2.0,
        **fields,
    }
    with launched(path, onlooker, **fields) as (runner, crew, fleet):
        result = runner.train(crew)
    check_nothing_left(onlooker.attempt_pids, fleet.addresses)
    return result
