"""A worker group whose supervisors live in this process: no Ray, one host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.topology import TaskPlan
from workers.messages import Task
from workers.news import ReplicaStatus
from workers.supervisor.replica import Replica


class LocalGroup(WorkerGroup):
    """Keeps supervisors in this process; each trains in a process of its own, as on Ray."""

    def __init__(self, plans: Sequence[TaskPlan], session: str) -> None:
        super().__init__(plans)
        self._session = session
        self._replicas = {task: Replica(task, session) for task in self.tasks}

    def poll(self, wait: float) -> list[ReplicaStatus]:
        time.sleep(wait)
        return [replica.poll() for replica in self._replicas.values()]

    def shutdown(self) -> None:
        for replica in self._replicas.values():
            with contextlib.suppress(OSError):
                replica.stop()

    def _renew(self, task: Task) -> None:
        with contextlib.suppress(OSError):
            self._replicas[task].stop()
        self._replicas[task] = Replica(task, self._session)

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        return getattr(self._replicas[task], method)(*arguments)

    def _answer(self, asked: Any) -> Any:
        return asked
