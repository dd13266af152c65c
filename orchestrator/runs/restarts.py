"""Launches another attempt of a run when one broke and the machine orders a relaunch."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.control import orders
from orchestrator.control.coordinator import Listener
from orchestrator.errors import ClusterError, HostLostError
from orchestrator.runs.failure_message import explain
from orchestrator.runs.managed_group import ManagedGroup
from orchestrator.runs.recorder import Recorder
from orchestrator.store.directory import RunStore
from workers.messages import FailureKind, Task, TaskFailure


class Restarts:
    """Restarts of one run."""

    def __init__(
        self,
        recorder: Recorder,
        store: RunStore,
        tell: Callable[[str], None],
        attempt: Callable[[ManagedGroup], int],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`tell` is called with a line about every restart; `attempt` returns the run's attempt number."""
        self._recorder = recorder
        self._store = store
        self._tell = tell
        self._attempt = attempt
        self._sleep = sleep

    def until_ready(self, group: ManagedGroup, deadline: Callable[[], float], listen: Listener) -> None:
        """Wait until the group can train, and relaunch it if ordered; `deadline` is called for every attempt."""
        while True:
            outcome = group.coordinator.await_ready(deadline(), listen)
            if not isinstance(outcome, orders.Relaunch | orders.GiveUp):
                self._recorder.launch_ended(self._attempt(group))
                return
            self.relaunch(group, outcome)

    def change(self, group: ManagedGroup, stage: int | None = None) -> None:
        """Launch another attempt with more workers, or of another `stage`."""
        try:
            group.relaunch(stage)
        except ClusterError as error:
            self.relaunch(group, group.coordinator.launch_failed(_not_launched(group.staged.traits.leader, error)))

    def relaunch(self, group: ManagedGroup, broken: orders.Outcome) -> orders.RollBack | None:
        """Launch another attempt; returns the rollback, if one was ordered before the previous attempt broke.

        Raises:
            RegattaError: the failure is not retried, or the retry budget is used up.
        """
        rollback: orders.RollBack | None = None
        while True:
            if not isinstance(broken, orders.Relaunch | orders.GiveUp):
                raise RuntimeError(f"{broken} is not a reason for another attempt")
            self._recorder.failed(self._attempt(group), broken.failures)
            log = self._store.log_path(broken.cause.task)
            if isinstance(broken, orders.GiveUp):
                raise explain(broken.cause, broken.failures, log, broken.reason) from None
            rollback = broken.rollback or rollback
            self._store.commit()
            self._tell(f"{broken.cause.task}: {broken.cause.summary}; all tasks are restarted")
            self._sleep(broken.wait)
            try:
                group.relaunch()
            except HostLostError as lost:
                raise explain(broken.cause, broken.failures, log, lost.message) from None
            except ClusterError as error:  # for example a network partition, which may heal during the next wait
                broken = group.coordinator.launch_failed(_not_launched(broken.cause.task, error))
            else:
                self._recorder.restarts(self._attempt(group), broken.cause, broken.wait)
                return rollback


def _not_launched(task: Task, error: ClusterError) -> TaskFailure:
    summary = f"another attempt could not be launched: {error}"
    return TaskFailure(task, FailureKind.INFRASTRUCTURE, summary)
