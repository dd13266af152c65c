"""`Runner`: trains one run in a worker group, which it launches unless that is done already."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.control import events, orders
from orchestrator.control.coordinator import Listener, Tick
from orchestrator.control.signals import Preempted
from orchestrator.monitor.run_monitor import RunMonitor
from orchestrator.plan.document import plan_document
from orchestrator.results import Finding, RunResult, Status
from orchestrator.runs.attempts import Attempts, LegStart
from orchestrator.runs.checkpoints import Resumed, first_written
from orchestrator.runs.earlier_fits import why_cut_off, with_earlier
from orchestrator.runs.failure_message import one_line
from orchestrator.runs.managed_group import ManagedGroup
from orchestrator.runs.notices import Notices
from orchestrator.runs.recorder import Recorder
from orchestrator.runs.restarts import Restarts
from orchestrator.runs.stages import Stages
from orchestrator.runs.straggler_trace import write_trace
from orchestrator.runs.watcher import Stops, Watcher
from orchestrator.sinks.fanout import open_sinks
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RunStore
from orchestrator.text import plural
from workers.messages import INTERRUPTED, NOT_FINITE, PREEMPTED, PRUNED, RESIZED, Leg


class Runner:
    """Trains one run and writes its folder."""

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
        stops: Stops | None = None,
    ) -> None:
        """`command_started` (monotonic seconds) is given for a command's first run only. Training stops at `deadline`,
        or for the reason that `stops` gives. `resumed` is for a run that the folder contains already."""
        self.spec = spec
        self.run_id = run_id
        self._watcher = watcher
        self._deadline = deadline
        self._stops = stops
        self._resumed = resumed
        self._offset: int | None = None
        """Offset from this run's attempt number, which starts at 1, to the group's."""
        self._store = RunStore(path, reopen=True) if resumed else RunStore(path)
        if resumed is None:
            self._store.write_spec(spec.resolved() | {"run_id": run_id})
        self._store.write_plan(plan_document(spec))
        self._store.write_environment(environment)
        attempt = resumed.attempt if resumed else 1
        self._store.event(attempt, "driver", pid=os.getpid(), host=platform.node())
        self._store.commit()
        sinks = open_sinks(spec, run_id, path)
        self._recorder = Recorder(spec, run_id, self._store, command_started, sinks, attempt)
        self._monitor = RunMonitor(spec, run_id)
        self._attempts = Attempts(spec, run_id, path, self._recorder)
        self._restarts = Restarts(self._recorder, self._store, self._tell, self._attempt)
        self._stages = Stages(self._restarts, self._attempts, self._recorder, self._tell, self._launching)
        self._begins_in = resumed.stage if resumed else 0
        self._notices = Notices(self._store, self._recorder, self._tell)
        self._workers = spec.workers
        """Workers of the current attempt."""
        self._result: RunResult | None = None
        self._earlier: list[RunResult] = []
        watcher.run_begins(spec, run_id, path)

    def prepare(self, group: ManagedGroup) -> None:
        """Start the group's tasks, unless they are running."""
        self._note_offset(group)
        if not group.launched:
            self._recorder.launch_begins()
            group.launch(self._begins_in)

    def await_ready(self, group: ManagedGroup, deadline: float) -> None:
        """Wait until the group can train; relaunches it if necessary."""
        self._begin(group)
        deadlines = chain([deadline], iter(self._launch_deadline, None))
        self._restarts.until_ready(group, lambda: next(deadlines), self._launching(group))

    def train(self, group: ManagedGroup) -> RunResult:
        """Train the run in a group that is ready, over as many attempts as necessary."""
        self._note_offset(group)
        self._begin(group)
        coordinator, target = group.coordinator, self.spec.parsed_target
        if group.stage != self._begins_in:
            self._note_offset(group, launched=False)
            self._stages.launch(group, self._begins_in)
        leg, snapshot = self._attempts.first(self._attempt(group), group.workers, self._resumed, group.stage)
        while True:
            self._tell_size(group)
            listener = self._listener(group, leg)
            match coordinator.train(leg, target, self._deadline, listener, snapshot):
                case orders.Ended() as ended if ended.switches:
                    leg, snapshot = self._stages.after(group, leg, ended, self._attempt)
                    self._add(self._monitor.restarted())
                case orders.Ended() as ended if not ended.resizes:
                    return self._conclude(ended)
                case orders.Ended():
                    self._restarts.change(group)
                    leg, snapshot = self._continue(group, leg, None)
                case orders.RollBack(snapshot=None) as rollback if group.stage:
                    leg, snapshot = self._continue(group, leg, rollback)
                case orders.RollBack() as rollback:
                    self._add(self._monitor.rolled_back())
                    leg, snapshot = self._attempts.after_rollback(self._attempt(group), leg, rollback)
                case orders.Relaunch() | orders.GiveUp() as broken:
                    leg, snapshot = self._continue(group, leg, self._restarts.relaunch(group, broken))

    def abandon(self, error: BaseException) -> RunResult:
        """Write the result of a run that failed, was preempted, or was stopped by the user."""
        if self._result is not None:  # the run had ended before a listener failed
            return self._result
        stopped = isinstance(error, KeyboardInterrupt)
        reason = INTERRUPTED if stopped else one_line(error)
        status: Status = "stopped" if stopped else "failed"
        if isinstance(error, Preempted):
            status, reason = "preempted", PREEMPTED
        return self._write(status, reason, None)

    def fit_ended(self, result: RunResult) -> None:
        """Take note of an earlier fit of the script, which has been trained."""
        self._earlier.append(result)
        self._recorder.begins_now()

    def cut_off(self) -> RunResult:
        """Write the result of a run whose last earlier fit has not succeeded, so that it could not begin."""
        return self._write(*why_cut_off(self._earlier), None)

    def _note_offset(self, group: ManagedGroup, *, launched: bool = True) -> None:
        if self._offset is None or not launched:
            self._offset = group.attempt + (not launched) - (self._resumed.attempt if self._resumed else 1)

    def _begin(self, group: ManagedGroup) -> None:
        """From now on failures are this run's."""
        clock, spent = (self._resumed.clock, self._resumed.spent) if self._resumed else (None, None)
        began = events.RunBegan(self.run_id, self.spec.on_instability, self._deadline, clock, spent)
        group.coordinator.begin_run(began)

    def _listener(self, group: ManagedGroup, leg: Leg) -> Listener:
        def listen(tick: Tick) -> None:
            self._recorder.tick(self._attempt(group), tick)
            self._notices.storage()
            self._notices.interruption()
            group.watch_backend()
            for finding in self._monitor.observe(tick.statuses):
                action = group.coordinator.react(finding)
                self._recorder.add_finding(finding.model_copy(update={"action": action}))
            self._watcher.training(tick)
            if self._stops is not None and (reason := self._stops(tick)) is not None:
                group.coordinator.stop(reason)
            for failure in tick.replaced:
                self._tell(f"{failure.task}: {failure.summary}; it is replaced while the others continue")
            if (written := first_written(tick)) is None:
                return
            self._notices.unseen(leg, written)
            if group.can_grow():
                group.coordinator.stop(RESIZED)

        return listen

    def _tell_size(self, group: ManagedGroup) -> None:
        if (workers := group.workers) != self._workers:
            self._workers = workers
            self._recorder.resized(self._attempt(group), workers)
            self._tell(f"continues with {workers} of {self.spec.workers} workers, as many as there is room for")

    def _tell(self, text: str) -> None:
        self._watcher.recovering(self.run_id, text)

    def _continue(self, group: ManagedGroup, leg: Leg, rollback: orders.RollBack | None) -> LegStart:
        """Wait until another attempt is ready; returns its first leg."""
        self._restarts.until_ready(group, self._launch_deadline, self._launching(group))
        self._add(self._monitor.restarted())
        if group.stage and rollback is not None and rollback.snapshot is None:
            leg = self._stages.enter(group, leg, 0)
        progress = group.coordinator.progress
        start = self._attempts.after_restart(
            self._attempt(group), leg, rollback, group.workers, progress, time.monotonic()
        )
        step = start[0].start.step if start[0].start else 0
        self._tell(f"training continues from step {step:,}; {plural(max(0, progress.step - step), 'step')} repeated")
        return start

    def _launching(self, group: ManagedGroup) -> Listener:
        def listen(tick: Tick) -> None:
            self._recorder.tick(self._attempt(group), tick)
            self._notices.storage()
            group.watch_backend()
            self._watcher.launching(tick)

        return listen

    def _conclude(self, ended: orders.Ended) -> RunResult:
        if ended.reason == NOT_FINITE:
            return self._write("failed", NOT_FINITE, ended)
        stopped = ended.unstable or ended.reason in ("timeout", INTERRUPTED, PRUNED)
        status: Status = "stopped" if stopped else "preempted" if ended.reason == PREEMPTED else "succeeded"
        return self._write(status, ended.reason, ended)

    def _add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._recorder.add_finding(finding)

    def _write(self, status: Status, reason: str, ended: orders.Ended | None) -> RunResult:
        self._add(self._monitor.finish())
        result = with_earlier(self._recorder.result(status, reason, ended, self._monitor), self.spec, self._earlier)
        self._store.finish_metrics()
        self._result = result
        try:
            write_trace(self._store.path, self.spec)
            self._store.write_result(result)
        except OSError as error:
            self._tell(f"{error.filename} cannot be written ({error.strerror}), so this command prints the only result")
        if self._store.lost is not None:
            self._tell(f"lost, because {self._notices.storage_problem}: {self._store.lost}")
        self._recorder.close(result)
        self._store.close()
        self._watcher.run_ended(result)
        return result

    def _attempt(self, group: ManagedGroup) -> int:
        return group.attempt - (self._offset or 0)

    def _launch_deadline(self) -> float:
        deadline = time.monotonic() + self.spec.launch_timeout
        return deadline if self._deadline is None else min(deadline, self._deadline)
