"""Writes a leg's checkpoints in a thread of the leader's supervisor, off the training path.

What waits to be written is one snapshot, the newest: a slow disk makes checkpoints rare, never memory full.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.checkpoints.errors import CheckpointError, FencedError
from workers.checkpoints.manifest import Score
from workers.checkpoints.store import CheckpointStore, open_storage
from workers.messages import CheckpointFailed, Checkpointing, CheckpointWritten, Evaluation, Leg, Stamp
from workers.snapshot import Snapshot

_UNSCORED = 4
"""Snapshots that wait for their score; older ones are forgotten."""

Tell = Callable[[CheckpointWritten | CheckpointFailed], None]


@dataclass(frozen=True)
class _Waiting:
    snapshot: Snapshot
    since: float
    """Monotonic seconds."""
    score: Score | None = None


class Writer:
    """One leg's checkpoints."""

    def __init__(self, leg: Leg, settings: Checkpointing, tell: Tell) -> None:
        self._leg = leg
        self._settings = settings
        self._tell = tell
        self._news = threading.Condition()
        self._latest: _Waiting | None = None
        self._best: _Waiting | None = None
        self._unscored: dict[Stamp, Snapshot] = {}
        self._best_known: float | None = None
        self._store: CheckpointStore | None = None
        self._busy = True
        self._closing = False
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="regatta-checkpoints", daemon=True)
        self._thread.start()

    def submit(self, snapshot: Snapshot) -> None:
        """Have `snapshot` written, instead of one that still waits."""
        with self._news:
            self._latest = _Waiting(snapshot, time.monotonic())
            self._news.notify_all()

    def consider(self, stamp: Stamp, snapshot: Snapshot) -> None:
        """`snapshot` is being scored, and may be the best."""
        with self._news:
            self._unscored[stamp] = snapshot
            while len(self._unscored) > _UNSCORED:
                del self._unscored[next(iter(self._unscored))]

    def scored(self, evaluation: Evaluation) -> None:
        """Keep what was scored if it is the best so far; it is written with the next checkpoint, or at the end."""
        value = evaluation.metrics.get(self._settings.metric)
        with self._news:
            snapshot = self._unscored.pop(evaluation.stamp, None)
            if snapshot is None or value is None or not self._beats(value):
                return
            self._best_known = value
            self._best = _Waiting(snapshot, time.monotonic(), Score(metric=self._settings.metric, value=value))
            if self._finished:
                self._news.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written; False if it is not within `seconds`.

        Nothing more is submitted: what turns out to be the best from now on is written at once.
        """
        with self._news:
            self._finished = True
            self._news.notify_all()
            return self._news.wait_for(self._idle, seconds)

    def close(self, seconds: float) -> None:
        """Write what waits, within `seconds`, and end."""
        self.flush(seconds)
        with self._news:
            self._closing = True
            self._news.notify_all()

    def _beats(self, value: float) -> bool:
        known = self._best_known
        if value != value:  # NaN
            return False
        return known is None or (value > known if self._settings.maximize else value < known)

    def _idle(self) -> bool:
        return not self._busy and self._latest is None and (self._best is None or not self._finished)

    def _run(self) -> None:
        self._open()
        while True:
            with self._news:
                self._busy = False
                self._news.notify_all()
                self._news.wait_for(lambda: self._closing or not self._idle())
                if self._idle():
                    return
                # First what a restart needs.
                waiting, self._latest, self._best = [self._latest, self._best], None, None
                self._busy = True
            for one in waiting:
                if one is not None:
                    self._write(one)

    def _open(self) -> None:
        start = self._leg.start
        try:
            store = CheckpointStore(open_storage(self._settings.destination), self._leg.run_id)
            store.claim(self._leg.attempt)
            store.clean()
            store.discard_after(start.step if start else -1, self._leg.attempt)
            best = store.best(self._settings.metric, maximize=self._settings.maximize)
        except Exception as error:  # noqa: BLE001 - or a leg would wait for a thread that is gone
            self._report(error, start.step if start else 0, None)
            return
        with self._news:
            self._store = store
            if best is not None and self._beats(best):
                self._best_known = best

    def _write(self, waiting: _Waiting) -> None:
        if self._store is None:
            self._open()  # maybe the place is back
            if self._store is None:
                return
        snapshot, store = waiting.snapshot, self._store
        try:
            name, size = store.write(snapshot, self._leg.attempt, self._about(), waiting.score)
            store.prune(self._settings.keep)
        except Exception as error:  # noqa: BLE001 - training goes on, whatever it was
            self._report(error, snapshot.step, snapshot.nbytes)
            return
        if waiting.score is not None:
            return  # nobody goes on from there
        seconds = time.monotonic() - waiting.since
        leg = self._leg
        self._tell(
            CheckpointWritten(
                leg.run_id, leg.attempt, snapshot.step, snapshot.samples, snapshot.clock, name, size, seconds
            )
        )

    def _about(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "seed": self._leg.seed,
            "job": settings.job,
            "mode": settings.mode,
            "workers": settings.workers,
            "batch_size": settings.batch_size,
        }

    def _report(self, error: Exception, step: int, size: int | None) -> None:
        fenced = isinstance(error, FencedError)
        problem = str(error) if isinstance(error, CheckpointError) else self._told(error, size)
        self._tell(CheckpointFailed(self._leg.run_id, self._leg.attempt, step, problem, fenced))

    def _told(self, error: Exception, size: int | None) -> str:
        """What the file system refused, in one line."""
        store = self._store
        url = store.url if store is not None else self._settings.destination.partition("?")[0]
        wanted = "" if size is None else f": it takes {size:,} bytes"
        free = store.free_bytes() if store is not None and getattr(error, "errno", None) == errno.ENOSPC else None
        room = "" if free is None else f", and {free:,} are free there"
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        return (
            f"no checkpoint could be written to {url}{wanted}{room} ({reason.splitlines()[0][:300]}). The last good "
            "one is untouched; training goes on, and the next interval tries again"
        )
