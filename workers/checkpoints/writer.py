"""Writes the checkpoints of a leg in a thread of the leader's supervisor, off the training path.

A leg is one uninterrupted stretch of a run's training in one launched group. Only the newest snapshot waits to be
written, so a slow disk makes checkpoints rarer and never fills the memory.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError, FencedError
from workers.checkpoints.manifest import Score
from workers.checkpoints.store import CheckpointStore
from workers.messages import Checkpointing, Leg
from workers.news import CheckpointFailed, CheckpointWritten, Evaluation, Stamp
from workers.snapshot import Snapshot

_UNSCORED = 4
"""Number of snapshots that may wait for their score; older ones are dropped."""

Report = Callable[[CheckpointWritten | CheckpointFailed], None]


@dataclass(frozen=True)
class _Pending:
    snapshot: Snapshot
    since: float
    """Monotonic seconds."""
    score: Score | None = None


class Writer:
    """Writes the checkpoints of one leg, and reports each success and failure through `report`."""

    def __init__(self, leg: Leg, settings: Checkpointing, report: Report) -> None:
        self._leg = leg
        self._settings = settings
        self._report = report
        self._changed = threading.Condition()
        self._latest: _Pending | None = None
        self._best: _Pending | None = None
        self._unscored: dict[Stamp, Snapshot] = {}
        self._best_score: float | None = None
        self._store: CheckpointStore | None = None
        self._busy = True
        self._closing = False
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="regatta-checkpoints", daemon=True)
        self._thread.start()

    def submit(self, snapshot: Snapshot) -> None:
        """Schedule `snapshot` for writing; it replaces one that is still waiting."""
        with self._changed:
            self._latest = _Pending(snapshot, time.monotonic())
            self._changed.notify_all()

    def consider(self, stamp: Stamp, snapshot: Snapshot) -> None:
        """Hold on to `snapshot` while it is being scored: it may turn out to be the best."""
        with self._changed:
            self._unscored[stamp] = snapshot
            while len(self._unscored) > _UNSCORED:
                del self._unscored[next(iter(self._unscored))]

    def scored(self, evaluation: Evaluation) -> None:
        """Keep the scored snapshot if it is the best so far; it is written with the next checkpoint, or at the end."""
        value = evaluation.metrics.get(self._settings.metric)
        with self._changed:
            snapshot = self._unscored.pop(evaluation.stamp, None)
            if snapshot is None or value is None or not self._beats(value):
                return
            self._best_score = value
            self._best = _Pending(snapshot, time.monotonic(), Score(metric=self._settings.metric, value=value))
            if self._finished:
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written; False if that takes longer than `seconds`.

        No snapshot may be submitted after this call; a new best state is written immediately.
        """
        with self._changed:
            self._finished = True
            self._changed.notify_all()
            return self._changed.wait_for(self._idle, seconds)

    def close(self, seconds: float) -> None:
        """Wait up to `seconds` for pending writes, then let the thread end."""
        self.flush(seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _beats(self, value: float) -> bool:
        best = self._best_score
        if value != value:  # NaN
            return False
        return best is None or (value > best if self._settings.maximize else value < best)

    def _idle(self) -> bool:
        return not self._busy and self._latest is None and (self._best is None or not self._finished)

    def _run(self) -> None:
        self._open()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closing or not self._idle())
                if self._idle():
                    return
                # The latest first: it is the one that a restart needs.
                queue, self._latest, self._best = [self._latest, self._best], None, None
                self._busy = True
            for pending in queue:
                if pending is not None:
                    self._write(pending)

    def _open(self) -> None:
        start = self._leg.start
        try:
            store = CheckpointStore(open_storage(self._settings.destination), self._leg.run_id)
            store.claim(self._leg.attempt)
            store.clean()
            store.discard_after(start.step if start else -1, self._leg.attempt)
            best = store.best(self._settings.metric, maximize=self._settings.maximize)
        except Exception as error:  # noqa: BLE001 - if this thread died, the leg would wait for it forever
            self._report_failure(error, start.step if start else 0, None)
            return
        with self._changed:
            self._store = store
            if best is not None and self._beats(best):
                self._best_score = best

    def _write(self, pending: _Pending) -> None:
        if self._store is None:
            self._open()  # the storage may be available again
            if self._store is None:
                return
        snapshot, store = pending.snapshot, self._store
        try:
            name, size = store.write(snapshot, self._leg.attempt, self._about(), pending.score)
            store.prune(self._leg.settings.checkpoint_keep)
        except Exception as error:  # noqa: BLE001 - training continues, whatever failed
            self._report_failure(error, snapshot.step, snapshot.nbytes)
            return
        if pending.score is not None:
            return  # runs do not resume from the best state, so the driver is not told
        seconds = time.monotonic() - pending.since
        leg = self._leg
        self._report(
            CheckpointWritten(
                leg.run_id, leg.attempt, snapshot.step, snapshot.samples, snapshot.clock, name, size, seconds
            )
        )

    def _about(self) -> dict[str, Any]:
        settings = self._leg.settings
        return {
            "seed": settings.seed,
            "job": settings.job,
            "mode": settings.mode,
            "workers": self._settings.workers,
            "batch_size": settings.batch_size,
        }

    def _report_failure(self, error: Exception, step: int, size: int | None) -> None:
        fenced = isinstance(error, FencedError)
        problem = str(error) if isinstance(error, CheckpointError) else self._os_problem(error, size)
        self._report(CheckpointFailed(self._leg.run_id, self._leg.attempt, step, problem, fenced))

    def _os_problem(self, error: Exception, size: int | None) -> str:
        """Describe in one line what the file system refused."""
        store = self._store
        url = store.url if store is not None else self._settings.destination.partition("?")[0]
        size_note = "" if size is None else f": it takes {size:,} bytes"
        free = store.free_bytes() if store is not None and getattr(error, "errno", None) == errno.ENOSPC else None
        free_note = "" if free is None else f", and {free:,} are free there"
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        return (
            f"no checkpoint could be written to {url}{size_note}{free_note} ({reason.splitlines()[0][:300]}). The last "
            "good checkpoint is untouched; training continues, and the next interval tries again"
        )
