"""Checkpoints of the leg that a supervisor's task leads: which snapshots are written, and what is reported."""

from __future__ import annotations

from collections.abc import Callable

from workers.checkpoints.writer import Writer
from workers.messages import Leg
from workers.news import CheckpointFailed, CheckpointWritten, Deciding, Evaluation, LegFinished, News
from workers.wire import SnapshotTaken

FLUSH_SECONDS = 120.0
"""How long a leg's end may wait for its last checkpoint."""
CLOSE_SECONDS = 8.0
"""How long a task's end may wait for its best checkpoint. Ray ends the supervisor soon after."""


class CheckpointKeeper:
    """Runs one checkpoint writer per leg, in a thread of its own. Does nothing for a leg without checkpoints."""

    def __init__(self, report: Callable[[News], None], fenced: Callable[[str], None]) -> None:
        """`fenced` is called when a later attempt has taken over the checkpoints."""
        self._report = report
        self._fenced = fenced
        self._leg: Leg | None = None
        self._writer: Writer | None = None

    def begin(self, leg: Leg) -> None:
        """Write checkpoints of `leg` from now on."""
        if self._writer is not None:
            self._writer.close(0)  # does not wait, but what is queued is still written
        self._leg = leg
        self._writer = Writer(leg, leg.checkpoints, self._written) if leg.checkpoints else None

    def take(self, taken: SnapshotTaken) -> None:
        """Write a snapshot, or hold it until its score tells whether it is the best."""
        if self._writer is None:
            return
        if taken.score:
            self._writer.consider(taken.stamp, taken.snapshot)
        if taken.keep:
            self._writer.submit(taken.snapshot)

    def scored(self, evaluation: Evaluation) -> None:
        """Pass on the score of a snapshot."""
        if self._writer is not None:
            self._writer.scored(evaluation)

    def flush(self, finished: LegFinished) -> None:
        """Wait for the last checkpoint of a leg that ended; the end is reported to the driver after that."""
        if self._writer is None or self._leg is None:
            return
        self._report(Deciding(finished.run_id, begins=True))  # the wait is not a hang, however long it takes
        if not self._writer.flush(FLUSH_SECONDS):
            problem = f"the last checkpoint was not written within {FLUSH_SECONDS:.0f} s of the end"
            self._written(CheckpointFailed(finished.run_id, self._leg.attempt, finished.steps, problem))
        self._report(Deciding(finished.run_id, begins=False))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close(CLOSE_SECONDS)

    def _written(self, news: CheckpointWritten | CheckpointFailed) -> None:
        self._report(news)
        if isinstance(news, CheckpointFailed) and news.fenced:
            self._fenced(news.problem)
