"""Executes planned runs: all seeds of a variant share one launched group, if the cluster can hold all groups."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.control.signals import Preempted
from orchestrator.doctor.environment import environment
from orchestrator.errors import RegattaError, ResourcesError, UsageError
from orchestrator.results import RunResult
from orchestrator.runs.earlier_fits import earlier_runs, ended, to_train, trained
from orchestrator.runs.kept_open import kept_open
from orchestrator.runs.planned import Planned
from orchestrator.runs.runner import Runner
from orchestrator.runs.session import Session
from orchestrator.runs.watcher import NullWatcher, Watcher
from orchestrator.sinks.fanout import sinks_ready
from orchestrator.store.locks import claim_directory
from workers.messages import INTERRUPTED

Schedule = Generator[Planned, RunResult, None]
"""Yields runs one by one and is sent the result of each, on which the next run may depend."""


class UnstartedError(RegattaError):
    """Another run failed before this one started training."""

    def __init__(self) -> None:
        super().__init__("not trained, because another run of the comparison failed")


class Execution:
    """Executes the runs of one command."""

    def __init__(self, timeout: float | None, watcher: Watcher | None) -> None:
        started = time.monotonic()
        self._started: float | None = started
        self._stops_at = None if timeout is None else started + timeout
        self._watcher = watcher or NullWatcher()
        self._environment: Future[Mapping[str, Any]]
        self._launched = False
        self._shared: Mapping[str, Any] = {}
        """Options for sessions of a single run, which share a backend."""
        self._ended: Sequence[bytes] = ()
        self._trained = 0

    def run(self, first_runs: Sequence[Planned], schedule: Schedule, ended: Sequence[bytes] = ()) -> None:
        """Execute all runs of `schedule`; `first_runs` are the first runs of each variant.

        `ended` is what the fits before have left behind, if runs that plan none are of a script that has some.

        All groups are launched before the first run trains, so that no launch slows down a run. If the cluster cannot
        hold all groups at once, each run gets its own group, in the same order; so does each run of a script with
        earlier fits, which its tasks find trained. No run is started after the timeout, except that every variant gets
        one.
        """
        self._ended = ended
        with sinks_ready(first_runs[0].spec), self._looking_at_the_environment(first_runs[0]):
            self._execute(first_runs, schedule)

    def _execute(self, first_runs: Sequence[Planned], schedule: Schedule) -> None:
        if any(planned.spec.earlier_fits for planned in first_runs):
            with kept_open([planned.spec for planned in first_runs]) as self._shared:
                self._one_by_one(first_runs, schedule)
            return
        try:
            self._together(first_runs, schedule)
        except ResourcesError:
            if len(first_runs) == 1 or self._launched:
                raise
            self._one_by_one(first_runs, schedule)

    def train_earlier_fits(self, planned: Planned) -> list[bytes]:
        """Train only the fits before the one that `planned` trains; returns what they leave behind.

        Raises:
            UsageError: one of them did not succeed.
        """
        fits = earlier_runs(planned)
        with self._looking_at_the_environment(planned), kept_open([planned.spec]) as self._shared:
            for number, fit in enumerate(fits):
                result = self._alone(to_train(fit), ended(fits[:number]))
                check_stopped(result)
                if result.status != "succeeded":
                    raise UsageError(f"Fit {number + 1} of {planned.spec.job} ended early ({result.stop_reason}).")
        self._shared, self._launched = {}, False
        return ended(fits)

    @contextlib.contextmanager
    def _looking_at_the_environment(self, planned: Planned) -> Iterator[None]:
        """Describe the machine and the job's folder, in 0.2 s, while Ray starts."""
        with ThreadPoolExecutor(1) as beside:
            self._environment = beside.submit(environment, Path(planned.spec.directory))
            yield

    def _together(self, first_runs: Sequence[Planned], schedule: Schedule) -> None:
        waiting: dict[str, Runner] = {}
        current: Runner | None = None
        try:
            with Session([planned.spec for planned in first_runs], ended=self._ended) as session:
                self._launched = True
                for planned in first_runs:
                    current = waiting[planned.run_id] = self._runner(planned)
                    current.prepare(session.groups[planned.spec.variant_name])
                for planned in first_runs:
                    current = waiting[planned.run_id]
                    current.await_ready(session.groups[planned.spec.variant_name], self._deadline(session.deadline))
                result: RunResult | None = None
                while (planned_next := _advance(schedule, result)) is not None and not self._is_late(first_runs):
                    check_stopped(result)
                    current = waiting.get(planned_next.run_id) or self._runner(planned_next)
                    waiting[planned_next.run_id] = current
                    result = current.train(session.groups[planned_next.spec.variant_name])
                    del waiting[planned_next.run_id]
                    self._trained += 1
        except BaseException as error:
            for runner in waiting.values():
                affected = runner is current or isinstance(error, Preempted | KeyboardInterrupt)
                runner.abandon(error if affected else UnstartedError())
            raise

    def _one_by_one(self, first_runs: Sequence[Planned], schedule: Schedule) -> None:
        """Launch a separate group for each run."""
        result: RunResult | None = None
        while (planned := _advance(schedule, result)) is not None and not self._is_late(first_runs):
            check_stopped(result)
            result = (
                self._with_earlier_fits(planned) if planned.spec.earlier_fits else self._alone(planned, self._ended)
            )
            self._trained += 1

    def _with_earlier_fits(self, planned: Planned) -> RunResult:
        """Train the script's earlier fits, each as a run of its own that finds the ones before it trained; then
        `planned`."""
        runner, fits = self._runner(planned), earlier_runs(planned)
        try:
            for number, fit in enumerate(fits):
                result = trained(fit) or self._alone(to_train(fit), ended(fits[:number]))
                runner.fit_ended(result)
                if result.status != "succeeded":
                    return runner.cut_off()
            return self._alone(planned, ended(fits), runner)
        except BaseException as error:
            runner.abandon(error)
            raise

    def _alone(self, planned: Planned, earlier: Sequence[bytes] = (), runner: Runner | None = None) -> RunResult:
        """Train a run in a group of its own. `earlier` is what the fits before it have left behind."""
        options = {**self._shared, "ended": earlier} if earlier else self._shared
        with Session([planned.spec], **options) as session:
            self._launched = True
            runner = runner or self._runner(planned)
            group = session.groups[planned.spec.variant_name]
            try:
                runner.prepare(group)
                runner.await_ready(group, self._deadline(session.deadline))
                return runner.train(group)
            except BaseException as error:
                runner.abandon(error)
                raise

    def _is_late(self, first_runs: Sequence[Planned]) -> bool:
        """Whether the timeout has passed, and every variant has had a run."""
        late = self._stops_at is not None and time.monotonic() > self._stops_at
        return late and self._trained >= len(first_runs)

    def _runner(self, planned: Planned) -> Runner:
        path = planned.path if planned.claimed else claim_directory(planned.path)
        command_started, self._started = self._started, None
        return Runner(
            planned.spec,
            path,
            planned.run_id,
            self._watcher,
            self._environment.result(),
            command_started=command_started,
            deadline=self._stops_at,
            resumed=planned.resumed,
            stops=planned.stops,
        )

    def _deadline(self, launch: float) -> float:
        return launch if self._stops_at is None else min(launch, self._stops_at)


def check_stopped(result: RunResult | None) -> None:
    """Raises what ends the command if the last run was preempted or interrupted, because that meant all of them."""
    if result is not None and result.status == "preempted":
        raise Preempted
    if result is not None and result.stop_reason == INTERRUPTED:
        raise KeyboardInterrupt


def _advance(schedule: Schedule, result: RunResult | None) -> Planned | None:
    """Send the last result to the schedule; returns the next run, or None if there is none."""
    try:
        return next(schedule) if result is None else schedule.send(result)
    except StopIteration:
        return None
