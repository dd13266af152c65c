"""Where the legs of a run begin: at its start, after a rollback, and in every new attempt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.cluster.worker_group import SnapshotHandle
from orchestrator.control.rollback import Guard
from orchestrator.runs.checkpoints import Resumed, checkpointing, go_on
from orchestrator.runs.recorder import Recorder
from orchestrator.runs.restarts import Restarts
from orchestrator.spec.run import RunSpec
from workers.messages import Checkpointing, Leg, Start
from workers.stragglers import Profile

Beginning = tuple[Leg, SnapshotHandle | None]
"""A leg, and the snapshot that its leader is handed."""


class Legs:
    """Of one run, in folder `path`."""

    def __init__(self, spec: RunSpec, run_id: str, path: Path, restarts: Restarts, recorder: Recorder) -> None:
        self._spec = spec
        self._run_id = run_id
        self._path = path
        self._restarts = restarts
        self._recorder = recorder
        self._rolled_back: Beginning | None = None
        """Where the run goes on from until there is a checkpoint from after its rollback."""

    def first(self, attempt: int, workers: int, resumed: Resumed | None) -> Beginning:
        """From the beginning, or where a run goes on that has been in its folder before."""
        spec = self._spec
        leg = Leg(
            run_id=self._run_id,
            seed=spec.seed,
            samples=spec.samples,
            epochs=spec.epochs if spec.samples is None else None,
            eval_every=spec.eval_every,
            steps_per_call=1 if Profile.parse(spec.straggler).paces else spec.steps_per_call,
            learning_rate=spec.learning_rate,
            learning_rate_scale=spec.learning_rate_scale,
            directory=str(self._path.absolute()),
            attempt=attempt,
            checkpoints=self._checkpointing(workers),
        )
        if resumed is None:
            return leg, None
        self._restarts.goes_on_at(resumed.clock)
        return self._from_checkpoint(leg, resumed.clock)

    def after_rollback(self, attempt: int, again: Beginning) -> Beginning:
        """In the same attempt."""
        self._rolled_back = again
        self._restarts.checkpoint = None
        self._recorder.rolled_back(attempt, again[0])
        return again

    def after_restart(self, leg: Leg, guard: Guard, attempt: int, workers: int) -> Beginning:
        """In a new attempt, with so many workers, of what `leg` was to train."""
        clock = self._restarts.training_clock()
        leg = replace(leg, attempt=attempt, checkpoints=self._checkpointing(workers))
        ordered = guard.interrupted(clock)
        if ordered is not None:
            self.after_rollback(attempt, (replace(leg, start=ordered[0]), ordered[1]))
        rolled_back = None
        if self._rolled_back is not None and self._restarts.checkpoint is None:
            before, snapshot = self._rolled_back
            start = replace(before.start or Start(0, 0, clock), clock=clock)
            rolled_back = replace(leg, start=start), snapshot
        return self._from_checkpoint(leg, clock, rolled_back)

    def _from_checkpoint(self, leg: Leg, clock: float, instead: Beginning | None = None) -> Beginning:
        """From the last checkpoint that is whole, or `instead`. From here on, no earlier attempt can write one."""
        going = go_on(leg, leg.attempt, clock)
        for note in going.notes:
            self._recorder.note(leg.attempt, note)
        leg, snapshot = instead or (going.leg, going.snapshot)
        self._recorder.goes_on(leg.attempt, leg)
        return leg, snapshot

    def _checkpointing(self, workers: int) -> Checkpointing | None:
        settings = checkpointing(self._spec, self._run_id, self._path)
        return settings and replace(settings, workers=workers)
