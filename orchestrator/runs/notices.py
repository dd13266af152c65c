"""What a user is told once in the course of a run."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.control import signals
from orchestrator.runs.checkpoints import unseen_checkpoints
from orchestrator.runs.recorder import Recorder
from orchestrator.store.directory import RunStore
from workers.messages import INTERRUPTED, Leg
from workers.news import CheckpointWritten


class Notices:
    """Notices about one run; `tell` gets each as a line."""

    def __init__(self, store: RunStore, recorder: Recorder, tell: Callable[[str], None]) -> None:
        self._store = store
        self._recorder = recorder
        self._tell = tell
        self._checked_checkpoint = False
        self._told_interruption = False
        self.storage_problem: str | None = None

    def storage(self) -> None:
        """Tell that metrics cannot be stored."""
        if self.storage_problem is None and (problem := self._store.problem) is not None:
            self.storage_problem = problem
            self._tell(f"{problem}; training continues, and metrics wait in memory until there is room")

    def interruption(self) -> None:
        """Tell what happens after Ctrl-C."""
        if not self._told_interruption and signals.requested() == INTERRUPTED:
            self._told_interruption = True
            self._tell("stopping: a checkpoint is written first; Ctrl-C again ends the command at once")

    def unseen(self, leg: Leg, written: CheckpointWritten) -> None:
        """Warn if checkpoints are written where this process cannot read them."""
        if leg.checkpoints is None or self._checked_checkpoint or written.run_id != leg.run_id:
            return
        self._checked_checkpoint = True
        if (problem := unseen_checkpoints(leg.checkpoints.destination)) is not None:
            self._recorder.note(written.attempt, problem)
            self._tell(problem)
