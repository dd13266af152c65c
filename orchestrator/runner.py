"""One run, from its plan to its result, in a crew that is launched already or is launched now."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator.coordinator import GroupBroken, Tick
from orchestrator.errors import ClusterError, JobError, RegattaError, SpecError, TaskDiedError
from orchestrator.fleet import Crew
from orchestrator.planning import plan_document
from orchestrator.policy import FailurePolicy
from orchestrator.recording import Recorder
from orchestrator.result import RunResult, Status
from orchestrator.spec import RunSpec
from orchestrator.states import Ended
from orchestrator.store import RunStore
from orchestrator.watch.guard import Guard
from orchestrator.watch.sinks import open_sinks
from workers.messages import FailureKind, Leg, TaskFailure
from workers.stragglers import Profile


class Watcher(Protocol):
    """Whoever looks on while runs go: the terminal, a test."""

    def run_begins(self, spec: RunSpec, run_id: str, path: Path) -> None: ...

    def launching(self, tick: Tick) -> None: ...

    def training(self, tick: Tick) -> None: ...

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
    ) -> None:
        """`command_started` (monotonic seconds) is for the command's first run; for later ones the time to the first
        step would hold other runs, and is not measured. At `deadline` training is stopped."""
        self.spec = spec
        self.run_id = run_id
        self._watcher = watcher
        self._deadline = deadline
        self._policy = FailurePolicy()
        self._store = RunStore(path)
        self._store.write_spec(spec.resolved() | {"run_id": run_id})
        self._store.write_plan(plan_document(spec))
        self._store.write_environment(environment)
        self._store.event(1, "driver", pid=os.getpid(), host=platform.node())
        self._store.commit()
        sinks = open_sinks(spec, run_id, path)
        self._recorder = Recorder(spec, run_id, self._store, command_started, sinks)
        self._result: RunResult | None = None
        watcher.run_begins(spec, run_id, path)

    def prepare(self, crew: Crew) -> None:
        """Order the crew's tasks to start, unless they run already."""
        if crew.coordinator is None:
            self._recorder.launch_begins()
            crew.launch()

    def await_ready(self, crew: Crew, deadline: float) -> None:
        def listen(tick: Tick) -> None:
            self._recorder.tick(crew.attempt, tick)
            self._watcher.launching(tick)

        while crew.coordinator is not None:
            try:
                crew.coordinator.await_ready(deadline, listen)
            except GroupBroken as broken:
                self._recorder.failed(crew.attempt, broken.failures)
                if not self._policy.retries(broken.cause, crew.attempt):
                    raise self._explained(broken) from None
                crew.relaunch()
            else:
                self._recorder.launch_ended(crew.attempt)
                return

    def train(self, crew: Crew) -> RunResult:
        """The leg itself; the crew is ready."""
        if crew.coordinator is None:
            raise RuntimeError("the crew was not launched")
        spec = self.spec
        leg = Leg(
            run_id=self.run_id,
            seed=spec.seed,
            samples=spec.samples,
            epochs=spec.epochs if spec.samples is None else None,
            eval_every=spec.eval_every,
            steps_per_call=1 if Profile.parse(spec.straggler).paces else spec.steps_per_call,
            learning_rate=spec.learning_rate,
            learning_rate_scale=spec.learning_rate_scale,
            directory=str(self._store.path.absolute()),
        )

        def listen(tick: Tick) -> None:
            self._recorder.tick(crew.attempt, tick)
            self._watcher.training(tick)

        guard = Guard(spec.on_instability, crew.coordinator)
        self._recorder.react = guard.react
        try:
            ended = crew.coordinator.run(leg, spec.parsed_target, self._deadline, listen)
            while (again := guard.resumed(leg, ended)) is not None:
                self._recorder.rolled_back(crew.attempt, again[0])
                ended = crew.coordinator.run(again[0], spec.parsed_target, self._deadline, listen, again[1])
        except GroupBroken as broken:
            self._recorder.failed(crew.attempt, broken.failures)
            raise self._explained(broken) from None
        return self._conclude(ended, guard)

    def abandon(self, error: BaseException) -> RunResult:
        """The result of a run that did not reach its end: failed, or stopped by the user."""
        if self._result is not None:  # it did, and what failed is somebody who watched
            return self._result
        stopped = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if stopped else _one_line(error)
        result = self._recorder.result("stopped" if stopped else "failed", reason, None)
        return self._write(result)

    def _conclude(self, ended: Ended, guard: Guard) -> RunResult:
        reason = "target" if ended.reached else ended.finished.stopped
        stopped = reason in ("timeout", "interrupted") or (reason is not None and reason == guard.stopped)
        status: Status = "stopped" if stopped else "succeeded"
        return self._write(self._recorder.result(status, reason or "budget", ended))

    def _write(self, result: RunResult) -> RunResult:
        self._store.close()
        self._store.write_result(result)
        self._recorder.close(result)
        self._result = result
        self._watcher.run_ended(result)
        return result

    def _explained(self, broken: GroupBroken) -> RegattaError:
        return explain(broken.cause, broken.failures, self._store.log_path(broken.cause.task))


def explain(cause: TaskFailure, failures: Sequence[TaskFailure], log: Path) -> RegattaError:
    """One paragraph on a failure: what happened, in which task, where its log is, what to try."""
    others = [str(f.task) for f in failures if f.kind is cause.kind and f.summary == cause.summary and f is not cause]
    where = f"{cause.task} (and {', '.join(others)})" if others else str(cause.task)
    tail = f" {cause.hint}" if cause.hint else ""
    match cause.kind:
        case FailureKind.SPEC:
            return SpecError("job", f"{cause.summary} ({where}; its log: {log})")
        case FailureKind.USER:
            return JobError(f"The job failed in {where}: {cause.summary}. Its log: {log}.{tail}", cause.traceback, log)
        case FailureKind.ADDRESS_TAKEN:
            return ClusterError(
                f"{where} could not bind its port: another process took it between reserving and starting, in every "
                f"attempt. Its log: {log}. Look for a program that opens many listening ports on that host."
            )
        case FailureKind.PEER:
            return ClusterError(f"{where} lost its peers ({cause.summary}), and none of them said why. Log: {log}.")
        case FailureKind.INFRASTRUCTURE:
            return TaskDiedError(f"{where} failed: {cause.summary}. Its log: {log}.{tail}")


def _one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]
