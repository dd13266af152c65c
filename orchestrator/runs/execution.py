"""Executes planned runs, each variant in one launched group that all its seeds share, where there is room."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.control.coordinator import Tick
from orchestrator.control.preemption import Preempted
from orchestrator.doctor.environment import environment
from orchestrator.errors import RegattaError, ResourcesError
from orchestrator.results import RunResult
from orchestrator.runs.checkpoints import Resumed
from orchestrator.runs.runner import Runner, Watcher
from orchestrator.runs.session import Session
from orchestrator.sinks.fanout import check_sinks
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import claim_directory


@dataclass(frozen=True)
class Planned:
    """A run to be made, and the folder it is made in."""

    spec: RunSpec
    path: Path
    run_id: str
    claimed: bool = False
    """Whether the folder is this run's own already."""
    resumed: Resumed | None = None
    """Where a run goes on that has been in the folder before."""


Schedule = Generator[Planned, RunResult, None]
"""Yields runs one by one and is sent each result, so that what comes next can depend on it."""


class NullWatcher:
    """Ignores every event."""

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None: ...

    def launching(self, tick: Tick) -> None: ...

    def training(self, tick: Tick) -> None: ...

    def recovering(self, run_id: str, text: str) -> None: ...

    def run_ended(self, result: RunResult) -> None: ...


class UnstartedError(RegattaError):
    """Another run failed before this one began to train."""

    def __init__(self) -> None:
        super().__init__("not trained, because another run of the comparison failed")


class Execution:
    """One command: its clock, its watcher, and the session it opens."""

    def __init__(self, timeout: float | None, watcher: Watcher | None) -> None:
        started = time.monotonic()
        self._started: float | None = started
        self._stops_at = None if timeout is None else started + timeout
        self._watcher = watcher or NullWatcher()
        self._environment: Mapping[str, Any] | None = None
        self._launched = False
        self._trained = 0

    def run(self, firsts: Sequence[Planned], schedule: Schedule) -> None:
        """Run all of `schedule`. `firsts` is the first run of each variant in it.

        All groups are launched before the first run trains, so that no launch disturbs a run's clock. Where the
        cluster cannot hold all at once, each run has a group of its own, in the same order. Once the timeout has
        passed and every variant had a run, no other is begun.
        """
        check_sinks(firsts[0].spec)
        try:
            self._together(firsts, schedule)
        except ResourcesError:
            if len(firsts) == 1 or self._launched:
                raise
            self._one_by_one(firsts, schedule)

    def _together(self, firsts: Sequence[Planned], schedule: Schedule) -> None:
        waiting: dict[str, Runner] = {}
        current: Runner | None = None
        try:
            with Session([planned.spec for planned in firsts]) as session:
                self._launched = True
                for planned in firsts:
                    current = waiting[planned.run_id] = self._runner(planned)
                    current.prepare(session.groups[planned.spec.variant_name])
                for planned in firsts:
                    current = waiting[planned.run_id]
                    current.await_ready(session.groups[planned.spec.variant_name], self._deadline(session.deadline))
                result: RunResult | None = None
                while (planned_next := _advance(schedule, result)) is not None and not self._is_over(firsts):
                    _go_on_after(result)
                    current = waiting.get(planned_next.run_id) or self._runner(planned_next)
                    waiting[planned_next.run_id] = current
                    result = current.train(session.groups[planned_next.spec.variant_name])
                    del waiting[planned_next.run_id]
                    self._trained += 1
        except BaseException as error:
            for runner in waiting.values():
                mine = runner is current or isinstance(error, Preempted)
                runner.abandon(error if mine else UnstartedError())
            raise

    def _one_by_one(self, firsts: Sequence[Planned], schedule: Schedule) -> None:
        """A group for every run."""
        result: RunResult | None = None
        while (planned := _advance(schedule, result)) is not None and not self._is_over(firsts):
            _go_on_after(result)
            with Session([planned.spec]) as session:
                self._launched = True
                runner = self._runner(planned)
                group = session.groups[planned.spec.variant_name]
                try:
                    runner.prepare(group)
                    runner.await_ready(group, self._deadline(session.deadline))
                    result = runner.train(group)
                except BaseException as error:
                    runner.abandon(error)
                    raise
            self._trained += 1

    def _is_over(self, firsts: Sequence[Planned]) -> bool:
        late = self._stops_at is not None and time.monotonic() > self._stops_at
        return late and self._trained >= len(firsts)

    def _runner(self, planned: Planned) -> Runner:
        path = planned.path if planned.claimed else claim_directory(planned.path)
        if self._environment is None:
            self._environment = environment(Path(planned.spec.directory))
        command_started, self._started = self._started, None
        return Runner(
            planned.spec,
            path,
            planned.run_id,
            self._watcher,
            self._environment,
            command_started=command_started,
            deadline=self._stops_at,
            resumed=planned.resumed,
        )

    def _deadline(self, launch: float) -> float:
        return launch if self._stops_at is None else min(launch, self._stops_at)


def _go_on_after(result: RunResult | None) -> None:
    """Raises Preempted where the machine is wanted back: the runs that are to come would meet the same."""
    if result is not None and result.status == "preempted":
        raise Preempted


def _advance(schedule: Schedule, result: RunResult | None) -> Planned | None:
    """Hands in the last result, and tells the run that comes next."""
    try:
        return next(schedule) if result is None else schedule.send(result)
    except StopIteration:
        return None
