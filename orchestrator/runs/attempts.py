"""Where the legs of a run start: at its beginning, after a rollback, and in every new attempt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.orders import RollBack
from orchestrator.control.run_progress import RunProgress
from orchestrator.runs.checkpoints import Resumed, checkpointing, resume_point
from orchestrator.runs.recorder import Recorder
from orchestrator.spec.run import RunSpec
from workers.messages import Checkpointing, Leg, Start
from workers.modes.registry import in_stages, stages

LegStart = tuple[Leg, SnapshotHandle | None]
"""A leg, and the snapshot from which its leader starts."""


class Attempts:
    """Determines where the legs of the run in folder `path` start."""

    def __init__(self, spec: RunSpec, run_id: str, path: Path, recorder: Recorder) -> None:
        self._spec = spec
        self._run_id = run_id
        self._path = path
        self._recorder = recorder
        self._rolled_back: LegStart | None = None
        """Where the run continues after a rollback, until there is a checkpoint from after it."""
        self._modes: tuple[str, ...] = ()
        """The modes that the run's checkpoints may be of."""

    def first(self, attempt: int, workers: int, resumed: Resumed | None, stage: int = 0) -> LegStart:
        """The first leg, in `stage`: from step 0, or from the last checkpoint of a resumed run."""
        leg = Leg(
            run_id=self._run_id,
            settings=self._spec.replica,
            directory=str(self._path.absolute()),
            attempt=attempt,
            checkpoints=self._checkpointing(workers),
            stops_if_not_finite=self._spec.on_instability != "ignore",
        )
        self._modes = in_stages(*(resumed.modes if resumed else ()), self._spec.mode)
        leg = self.staged(leg, stage)
        return (leg, None) if resumed is None else self._from_checkpoint(leg, resumed)

    def staged(self, leg: Leg, stage: int, *, to_the_end: bool = False) -> Leg:
        """`leg` in the mode of `stage`, until its end or, if asked for, until the end of the run."""
        settings, until = self._spec.stages[stage].replica, stages(self._spec.mode)[stage].until
        return replace(leg, settings=settings, until=1.0 if to_the_end else until)

    def after_rollback(self, attempt: int, leg: Leg, rollback: RollBack) -> LegStart:
        """The next leg of the same attempt, from the snapshot to which `leg` is rolled back."""
        self._rolled_back = replace(leg, start=rollback.start), rollback.snapshot
        self._recorder.rolled_back(attempt, self._rolled_back[0])
        return self._rolled_back

    def after_restart(
        self, attempt: int, leg: Leg, rollback: RollBack | None, workers: int, progress: RunProgress, now: float
    ) -> LegStart:
        """The first leg of a new attempt with `workers` workers, which continues `leg`.

        `rollback` was ordered before the previous attempt broke; `now` is in monotonic seconds.
        """
        resumed = Resumed(attempt, progress.clock(now), progress.spent(now))
        leg = replace(leg, attempt=attempt, checkpoints=self._checkpointing(workers))
        if rollback is not None:
            self.after_rollback(attempt, leg, rollback)
        rolled_back = None
        if self._rolled_back is not None and progress.checkpoint is None:
            before, snapshot = self._rolled_back
            start = replace(before.start or Start(0, 0, 0.0), clock=resumed.clock, spent=resumed.spent)
            rolled_back = replace(leg, start=start), snapshot
        return self._from_checkpoint(leg, resumed, rolled_back)

    def _from_checkpoint(self, leg: Leg, resumed: Resumed, instead: LegStart | None = None) -> LegStart:
        """Start from the last valid checkpoint, or `instead`. After this, earlier attempts cannot write checkpoints."""
        point = resume_point(leg, replace(resumed, attempt=leg.attempt, modes=self._modes))
        for note in point.notes:
            self._recorder.note(leg.attempt, note)
        leg, snapshot = instead or (point.leg, point.snapshot)
        self._recorder.continues(leg.attempt, leg)
        return leg, snapshot

    def _checkpointing(self, workers: int) -> Checkpointing | None:
        return checkpointing(self._spec, self._run_id, self._path, workers)
