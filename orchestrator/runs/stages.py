"""Takes a run whose mode changes on the way from the worker group of one mode to that of the next."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.control.coordinator import Listener
from orchestrator.control.orders import Ended
from orchestrator.errors import ClusterError
from orchestrator.runs.attempts import Attempts, LegStart
from orchestrator.runs.managed_group import ManagedGroup
from orchestrator.runs.recorder import Recorder
from orchestrator.runs.restarts import Restarts
from workers.messages import Leg


class Stages:
    """The stages of one run, each another attempt of its group."""

    def __init__(
        self,
        restarts: Restarts,
        attempts: Attempts,
        recorder: Recorder,
        tell: Callable[[str], None],
        launching: Callable[[ManagedGroup], Listener],
    ) -> None:
        """`tell` is called with a line about every change; `launching` makes the listener for a launch."""
        self._restarts = restarts
        self._attempts = attempts
        self._recorder = recorder
        self._tell = tell
        self._launching = launching

    def launch(self, group: ManagedGroup, stage: int) -> None:
        """Launch `stage` for a run that begins in a group which another run has left in a later one."""
        self._recorder.launch_begins()
        self._launch(group, stage)

    def enter(self, group: ManagedGroup, leg: Leg, stage: int) -> Leg:
        """Launch `stage` for a run that trains; returns `leg` as it is in it."""
        self._launch(group, stage)
        return self._attempts.staged(leg, stage)

    def after(self, group: ManagedGroup, leg: Leg, ended: Ended, attempt: Callable[[ManagedGroup], int]) -> LegStart:
        """The leg after one that ended to be continued in the next stage; `attempt` returns the run's attempt number.

        If the run is over nevertheless, it is a leg in the same group, which ends at once and as a run ends: with a
        last evaluation and the exported model.

        Raises:
            ClusterError: the checkpoint that was written at the leg's end cannot be read.
        """
        step, progress = ended.finished.steps, group.coordinator.progress
        if ended.is_over:
            leg = self._attempts.staged(leg, group.stage, to_the_end=True)
            started = None
        else:
            stage, started = group.stage + 1, time.monotonic()
            mode = group.spec.stages[stage].mode
            self._recorder.switched(attempt(group), ended.finished, mode, stage)
            leg = self.enter(group, leg, stage)
        now = time.monotonic()
        start = self._attempts.after_restart(attempt(group), leg, None, group.workers, progress, now)
        reached = start[0].start.step if start[0].start else 0
        if reached != step:
            raise ClusterError(
                f"checkpoints: mode {group.spec.mode} continues from the checkpoint of step {step:,}, but the last one "
                f"that this machine can read is of step {reached:,}. If the disk is not full, set --checkpoints to a "
                "folder that all hosts share, or to a URI (s3://bucket/folder)."
            )
        if started is not None:
            self._tell(f"switched to {leg.settings.mode} at step {step:,}, which took {now - started:.1f} s")
        return start

    def _launch(self, group: ManagedGroup, stage: int) -> None:
        self._restarts.change(group, stage)
        # A run whose timeout passes meanwhile ends as its next leg begins, with a last evaluation.
        deadline = group.spec.launch_timeout
        self._restarts.until_ready(group, lambda: time.monotonic() + deadline, self._launching(group))
