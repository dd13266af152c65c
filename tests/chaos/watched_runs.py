"""Complete runs, with restarts, on the local backend: real TensorFlow processes under the real runner."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.local import LocalBackend, LocalReservations
from orchestrator.cluster.local_group import LocalGroup
from orchestrator.cluster.worker_group import Assign
from orchestrator.control.coordinator import Tick
from orchestrator.plan.placement import Bundle, Group, Host, Room, Strategy
from orchestrator.plan.topology import TaskPlan
from orchestrator.results import RunResult
from orchestrator.runs.managed_group import ManagedGroup
from orchestrator.runs.runner import Runner
from orchestrator.spec.run import RunSpec
from tests.chaos.checker import check_nothing_left
from tests.integration.local_runs import JOBS, SESSION, opened
from workers.messages import Assignment, Task
from workers.modes.registry import traits
from workers.news import StepBatch

SLOW = "persistent:worker=0,factor=1"
"""Steps of 20 ms, for workers that share their weights in memory: a run would be over before a fault is noticed."""
_NUMBERS = itertools.count()


class Onlooker:
    """Watcher that records every poll of a run and calls the given functions."""

    def __init__(self) -> None:
        self.pids: dict[Task, int] = {}
        self.told: list[str] = []
        """Messages about failures that a user would have seen."""
        self.step = 0
        """Number of the latest update that was reported."""
        self.attempt_pids: set[int] = set()
        """Pids of all processes of the run so far."""
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
        """Send a signal to the task's process; False if the process is gone."""
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self.pids[task], number)
            return True
        return False

    def _look(self, tick: Tick) -> None:
        for status in tick.statuses:
            if status.pid is not None and status.failure is None:
                self.pids[status.task] = status.pid
                self.attempt_pids.add(status.pid)
            for news in status.news:
                if isinstance(news, StepBatch) and len(news.steps):
                    self.step = int(news.steps[-1])


class ApartBackend(LocalBackend):
    """Gives every task a host of its own, in name only; groups are in this process."""

    def __init__(self) -> None:
        super().__init__(SESSION)
        self.lost_hosts: set[str] = set()
        """Ids of hosts that are unreachable."""
        self.addresses: set[str] = set()
        """Addresses of all tasks so far."""
        self.reservations = _Apart(self.lost_hosts)

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> LocalGroup:
        return _Noting(plans, self, [bundle.host for bundle in bundles])


class _Apart(LocalReservations):
    def __init__(self, lost: set[str]) -> None:
        super().__init__()
        self._lost = lost

    def reserve(self, groups: Sequence[Group], strategy: Strategy, deadline: float) -> tuple[Bundle, ...]:
        plans = [plan for group in groups for plan in group]
        hosts = [Host(str(plan.task), str(plan.task), "", Room(1), Room(0)) for plan in plans]
        return tuple(Bundle(None, index, host) for index, host in enumerate(hosts))

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> None:
        """No host has room for another task."""

    def answers(self, bundle: Bundle) -> bool:
        return bundle.host.id not in self._lost


class _Noting(LocalGroup):
    """Notes the addresses of its tasks."""

    def __init__(self, plans: tuple[TaskPlan, ...], backend: ApartBackend, hosts: Sequence[Host]) -> None:
        super().__init__(plans, SESSION)
        self._backend, self._hosts = backend, hosts

    def lost_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self._hosts if host.id in self._backend.lost_hosts)

    def launch(self, assign: Assign) -> None:
        def noting(task: Task, addresses: Mapping[Task, str]) -> Assignment:
            self._backend.addresses.update(addresses.values())
            return assign(task, addresses)

        super().launch(noting)


@contextlib.contextmanager
def launched(path: Path, onlooker: Onlooker, **fields: Any) -> Iterator[tuple[Runner, ManagedGroup, ApartBackend]]:
    """Launch a run in folder `path`, ready to train; `fields` are the spec's."""
    spec = RunSpec.make({"directory": str(JOBS), **fields})
    path.mkdir(parents=True, exist_ok=True)
    backend = ApartBackend()
    run_id = f"{path.name}-{os.getpid()}-{next(_NUMBERS)}"
    with opened(spec, backend) as session:
        group = session.groups[spec.variant_name]
        runner = Runner(spec, path, run_id, onlooker, {}, command_started=None, deadline=time.monotonic() + 240)
        try:
            runner.prepare(group)
            runner.await_ready(group, time.monotonic() + spec.launch_timeout)
            yield runner, group, backend
        except BaseException as error:
            runner.abandon(error)
            for log in sorted((path / "logs").glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
            raise


BATCH, CALL = 32, 20


def run(path: Path, onlooker: Onlooker, *, steps: int = 1200, interval: int = 100, **fields: Any) -> RunResult:
    """Train two workers for `steps` steps, with a checkpoint every `interval` steps; leaves nothing behind."""
    mode = traits(fields["mode"])
    per_step = BATCH * mode.batches_per_step(1 if mode.alone else 2, 1)
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
    with launched(path, onlooker, **fields) as (runner, group, backend):
        result = runner.train(group)
    check_nothing_left(onlooker.attempt_pids, backend.addresses)
    return result
