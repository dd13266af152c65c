"""One run, from its plan to its result, in a crew that is launched already or is launched now."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.coordinator import GroupBroken, Tick
from orchestrator.control.failure_policy import FailurePolicy
from orchestrator.control.preemption import Preempted
from orchestrator.control.rollback import Guard
from orchestrator.control.states import Ended
from orchestrator.errors import ClusterError, HostLostError
from orchestrator.plan import topology
from orchestrator.plan.document import plan_document
from orchestrator.results import RunResult, Status
from orchestrator.runs.attempts import Legs
from orchestrator.runs.checkpoints import Resumed, out_of_sight
from orchestrator.runs.failure_message import explain
from orchestrator.runs.fleet import Crew
from orchestrator.runs.recorder import Recorder
from orchestrator.runs.restarts import Restarts
from orchestrator.runs.straggler_trace import write_draws
from orchestrator.sinks.fanout import open_sinks
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RunStore
from workers.messages import (
    PREEMPTED,
    RESIZED,
    CheckpointWritten,
    FailureKind,
    Leg,
    TaskFailure,
)


class Watcher(Protocol):
    """Whoever looks on while runs go: the terminal, a test."""

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None: ...

    def launching(self, tick: Tick) -> None: ...

    def training(self, tick: Tick) -> None: ...

    def recovering(self, run_id: str, text: str) -> None: ...

    def run_ended(self, result: RunResult) -> None: ...


class Runner:
    """Executes one run and writes its directory."""

    def __init__(
        self,
        spec: RunSpec,
        path: Path,
        run_id: str,
        watcher: Watcher,
        environment: Mapping[str, Any],
        *,
        command_started: float | None,
        deadline: float | None,
        resumed: Resumed | None = None,
    ) -> None:
        """`command_started` (monotonic seconds) is for the command's first run; for later ones the time to the first
        step would hold other runs, and is not measured. At `deadline` training is stopped. `resumed`: in a folder
        that holds this run already."""
        self.spec = spec
        self.run_id = run_id
        self._watcher = watcher
        self._deadline = deadline
        self._restarts = Restarts(run_id, FailurePolicy(max_restarts=spec.max_restarts))
        self._resumed = resumed
        self._attempts_before: int | None = None
        """Of the crew, in runs before this one; less those of this run under an earlier driver."""
        self._store = RunStore(path, reopen=True) if resumed else RunStore(path)
        if resumed is None:
            self._store.write_spec(spec.resolved() | {"run_id": run_id})
        self._store.write_plan(plan_document(spec))
        self._looked = False
        """For a checkpoint, whether it can be seen from here."""
        self._workers = spec.workers
        """As many as the attempt under way has."""
        self._store.write_environment(environment)
        attempt = resumed.attempt if resumed else 1
        self._store.event(attempt, "driver", pid=os.getpid(), host=platform.node())
        self._store.commit()
        sinks = open_sinks(spec, run_id, path)
        self._recorder = Recorder(spec, run_id, self._store, command_started, sinks, attempt)
        self._legs = Legs(spec, run_id, path, self._restarts, self._recorder)
        self._result: RunResult | None = None
        watcher.run_begins(spec, run_id, path)

    def prepare(self, crew: Crew) -> None:
        """Order the crew's tasks to start, unless they run already."""
        self._begin(crew)
        if crew.coordinator is None:
            self._recorder.launch_begins()
            crew.launch()

    def _begin(self, crew: Crew) -> None:
        if self._attempts_before is None:
            self._attempts_before = crew.attempt - (self._resumed.attempt if self._resumed else 1)

    def await_ready(self, crew: Crew, deadline: float) -> None:
        """Until the crew can train; launches it anew where that may help."""

        def listen(tick: Tick) -> None:
            self._recorder.tick(self._attempt(crew), tick)
            self._watcher.launching(tick)

        while crew.coordinator is not None:
            try:
                crew.coordinator.await_ready(deadline, listen)
            except GroupBroken as broken:
                self._restart(crew, broken)
                deadline = self._launch_deadline()
            else:
                self._recorder.launch_ended(self._attempt(crew))
                return

    def train(self, crew: Crew) -> RunResult:
        """The leg itself, over as many attempts as it takes; the crew is ready."""
        if crew.coordinator is None:
            raise RuntimeError("the crew was not launched")
        self._begin(crew)
        guard = Guard(self.spec.on_instability, crew.coordinator)
        self._recorder.react = guard.react
        leg, snapshot = self._legs.first(self._attempt(crew), crew.workers, self._resumed)
        while True:
            try:
                ended = self._train_leg(crew, guard, leg, snapshot)
                if ended.reached or ended.finished.stopped != RESIZED:
                    return self._conclude(ended, guard)
                self._resize(crew)
            except GroupBroken as broken:
                self._restart(crew, broken)
            self.await_ready(crew, self._launch_deadline())
            leg, snapshot = self._legs.after_restart(leg, guard, self._attempt(crew), crew.workers)

    def _train_leg(self, crew: Crew, guard: Guard, leg: Leg, snapshot: SnapshotHandle | None) -> Ended:
        """One leg to its end, and those that a rollback makes of it."""

        def listen(tick: Tick) -> None:
            self._restarts.hear(tick.statuses)
            self._recorder.tick(self._attempt(crew), tick)
            self._watcher.training(tick)
            for failure in tick.replaced:
                self._tell(failure, "is started anew, while the others go on")
            if (written := _checkpoint(tick)) is None:
                return
            self._look_for(leg, written)
            if crew.can_grow() and crew.coordinator is not None:
                crew.coordinator.stop(RESIZED)

        if crew.coordinator is None:
            raise RuntimeError("the crew was not launched")
        self._tell_size(crew)
        target = self.spec.parsed_target
        ended = crew.coordinator.run(leg, target, self._deadline, listen, snapshot)
        while (again := guard.resumed(leg, ended)) is not None:
            leg, snapshot = self._legs.after_rollback(self._attempt(crew), again)
            ended = crew.coordinator.run(leg, target, self._deadline, listen, snapshot)
        return ended

    def _look_for(self, leg: Leg, written: CheckpointWritten) -> None:
        """Say once if checkpoints are written where this process cannot read them."""
        if leg.checkpoints is None or self._looked or written.run_id != self.run_id:
            return
        self._looked = True
        if (problem := out_of_sight(leg.checkpoints.destination)) is not None:
            self._recorder.note(written.attempt, problem)
            self._watcher.recovering(self.run_id, problem)

    def _resize(self, crew: Crew) -> None:
        """The same run in a larger group. Raises GroupBroken if that cannot be launched."""
        try:
            crew.relaunch()
        except ClusterError as error:
            task = topology.leader(self.spec.mode)
            failure = TaskFailure(task, FailureKind.INFRASTRUCTURE, f"it could not be launched anew: {error}")
            raise GroupBroken(failure, [failure]) from error

    def _tell_size(self, crew: Crew) -> None:
        """That the group has another number of workers than before."""
        if (workers := crew.workers) != self._workers:
            self._workers = workers
            self._recorder.resized(self._attempt(crew), workers)
            text = f"goes on with {workers} of {self.spec.workers} workers, as many as there are places for"
            self._watcher.recovering(self.run_id, text)

    def _restart(self, crew: Crew, broken: GroupBroken) -> None:
        """A new attempt, with every process and port anew.

        Raises:
            RegattaError: the failure is not worth one, or there were enough of them.
        """
        cause, failures = broken.cause, broken.failures
        while True:
            self._recorder.failed(self._attempt(crew), failures)
            decision = self._restarts.decide(cause)
            if decision.again and self._deadline is not None and time.monotonic() > self._deadline:
                decision = replace(decision, again=False, reason="The timeout has passed, so it is not tried again.")
            if not decision.again:
                raise explain(cause, failures, self._store.log_path(cause.task), decision.reason) from None
            self._store.commit()
            self._tell(cause, "the group is launched anew")
            self._restarts.wait(decision.wait)
            try:
                crew.relaunch()
            except HostLostError as lost:
                raise explain(cause, failures, self._store.log_path(cause.task), lost.message) from None
            except ClusterError as error:  # a network that is cut, say: it may be mended while one waits
                cause = TaskFailure(cause.task, FailureKind.INFRASTRUCTURE, f"it could not be launched anew: {error}")
                failures = (cause,)
            else:
                self._recorder.restarts(self._attempt(crew), cause, decision.wait)
                return

    def _tell(self, failure: TaskFailure, what: str) -> None:
        self._watcher.recovering(self.run_id, f"{failure.task}: {failure.summary}; {what}")

    def abandon(self, error: BaseException) -> RunResult:
        """The result of a run that did not reach its end: failed, or stopped by the user."""
        if self._result is not None:  # it did, and what failed is somebody who watched
            return self._result
        stopped = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if stopped else _one_line(error)
        status: Status = "stopped" if stopped else "failed"
        if isinstance(error, Preempted):
            status, reason = "preempted", PREEMPTED
        return self._write(self._recorder.result(status, reason, None))

    def _conclude(self, ended: Ended, guard: Guard) -> RunResult:
        reason = "target" if ended.reached else ended.finished.stopped
        stopped = reason in ("timeout", "interrupted") or (reason is not None and reason == guard.stopped)
        status: Status = "stopped" if stopped else "preempted" if reason == PREEMPTED else "succeeded"
        return self._write(self._recorder.result(status, reason or "budget", ended))

    def _write(self, result: RunResult) -> RunResult:
        self._store.close()
        write_draws(self._store.path, self.spec)
        self._store.write_result(result)
        self._recorder.close(result)
        self._result = result
        self._watcher.run_ended(result)
        return result

    def _attempt(self, crew: Crew) -> int:
        """Of this run, from 1: the crew may have made others before."""
        return crew.attempt - (self._attempts_before or 0)

    def _launch_deadline(self) -> float:
        deadline = time.monotonic() + self.spec.launch_timeout
        return deadline if self._deadline is None else min(deadline, self._deadline)


def _checkpoint(tick: Tick) -> CheckpointWritten | None:
    """The first that was written since the last poll."""
    told = (told for status in tick.statuses for told in status.checkpoints)
    return next((written for written in told if isinstance(written, CheckpointWritten)), None)


def _one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]
