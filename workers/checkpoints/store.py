"""The checkpoints of one run: written by one attempt, read by the next."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.checkpoints import arrays
from workers.checkpoints.errors import CheckpointError, DamagedError, FencedError
from workers.checkpoints.manifest import ARRAYS, MANIFEST, MAX_BYTES, Manifest, Score, Share, from_bytes, to_bytes
from workers.checkpoints.storage import FENCE, Name, Storage, parsed_name
from workers.messages import Taken
from workers.snapshot import CallbackMemory, Snapshot

_FENCE_BYTES = 4096
_NO_FILE = (errno.ELOOP, errno.EINVAL, errno.EISDIR)
"""Errors of a link, a pipe or a folder in place of a file."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified."""

    name: str
    manifest: Manifest
    snapshot: Snapshot


@dataclass(frozen=True)
class Found:
    """Result of looking for the latest checkpoint."""

    checkpoint: Checkpoint | None
    passed_over: tuple[str, ...]
    """One message for each newer checkpoint that is damaged."""


class CheckpointStore:
    """The checkpoints of run `run_id` in `storage`."""

    def __init__(self, storage: Storage, run_id: str) -> None:
        self._storage = storage
        self._run_id = run_id

    @property
    def url(self) -> str:
        return self._storage.url

    def names(self) -> list[str]:
        """Names of the checkpoints that a run can resume from, oldest first."""
        return self._names(best=False)

    def attempt(self) -> int:
        """Number of the latest attempt that claimed these checkpoints; 0 for none.

        Raises:
            CheckpointError: the claim is damaged, or belongs to another run.
        """
        data = self._storage.read(FENCE, _FENCE_BYTES)
        if data is None:
            return 0
        try:
            document = json.loads(data)
            attempt, run_id = document["attempt"], document["run_id"]
            if not isinstance(attempt, int) or isinstance(attempt, bool) or not 0 < attempt < 2**53:
                raise ValueError(f"attempt {str(attempt)[:50]}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(
                f"{self.url}/{FENCE} does not say which attempt may write ({str(error)[:100]}). If no attempt of the "
                "run is alive, delete this file."
            ) from None
        if run_id != self._run_id:
            raise CheckpointError(
                f"{self.url} holds the checkpoints of another run, {str(run_id)[:100]!r}. Give each run a "
                "folder of its own."
            )
        return attempt

    def claim(self, attempt: int) -> None:
        """Stop earlier attempts from writing here.

        Raises:
            FencedError: a later attempt has claimed these checkpoints already.
        """
        with self._storage.locked():
            self.check(attempt)
            if self.attempt() != attempt:
                self._storage.put(FENCE, json.dumps({"attempt": attempt, "run_id": self._run_id}).encode())

    def check(self, attempt: int) -> None:
        """Raise FencedError if an attempt later than `attempt` has claimed these checkpoints."""
        latest = self.attempt()
        if latest > attempt:
            raise FencedError(
                f"attempt {latest} of the run has taken over its checkpoints in {self.url}: attempt {attempt}, which "
                "was believed dead, must not write any more and ends"
            )

    def write(
        self, snapshot: Snapshot, attempt: int, about: Mapping[str, Any], score: Score | None = None
    ) -> tuple[str, int]:
        """Write a checkpoint; returns its name and size in bytes.

        `about` holds the manifest's fields that are not in the snapshot. With a `score`, the checkpoint replaces the
        best state so far. Scored snapshots are read while training continues: in async they may contain unreported
        updates, so their position in the data is unknown and runs never resume from them.

        Raises:
            FencedError: a later attempt has taken over.
            CheckpointError, OSError: writing failed; nothing of the checkpoint is left.
        """
        name = str(Name(attempt, snapshot.step, best=score is not None))
        position = snapshot.position if score is None else ()
        entries = arrays.describe(snapshot)
        self.check(attempt)
        with self._storage.draft(name) as draft:
            file = draft.write(ARRAYS, lambda stream: arrays.write(snapshot, stream))
            manifest = Manifest(
                run_id=self._run_id,
                attempt=attempt,
                step=snapshot.step,
                samples=snapshot.samples,
                clock=snapshot.clock,
                schedule_scale=snapshot.schedule_scale,
                position=tuple(Share(workers=group.workers, taken=group.taken) for group in position),
                score=score,
                callbacks=None if snapshot.callbacks is None else snapshot.callbacks.document,
                arrays=entries,
                files={ARRAYS: file},
                **about,
            )
            data = to_bytes(manifest)
            draft.finish(data, lambda: self.check(attempt))
        for other in self._names(best=True) if score is not None else ():
            if other != name:
                self._storage.remove(other)
        return name, file.size + len(data)

    def manifest(self, name: str) -> Manifest:
        """Read the manifest of a checkpoint; raises as `read` does."""
        data = self._read(name, MANIFEST, MAX_BYTES)
        manifest = from_bytes(data)
        if manifest.run_id != self._run_id:
            raise DamagedError(f"it belongs to another run, {manifest.run_id[:100]!r}")
        expected = Name(manifest.attempt, manifest.step, best=manifest.score is not None)
        if parsed_name(name) != expected:
            raise DamagedError(f"according to its {MANIFEST} its name should be {expected}")
        return manifest

    def read(self, name: str) -> Checkpoint:
        """Read and verify the checkpoint in folder `name`.

        Raises:
            DamagedError: its content is not what was written.
            OSError: the storage does not let it be read, which says nothing of its content.
        """
        manifest = self.manifest(name)
        expected = manifest.files[ARRAYS]
        data = self._read(name, ARRAYS, expected.size)
        if len(data) != expected.size:
            raise DamagedError(f"{ARRAYS} is truncated: it has {len(data)} of {expected.size} bytes")
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise DamagedError(f"{ARRAYS} was changed: its SHA-256 does not match the manifest")
        kinds = arrays.by_kind(arrays.read(data, manifest.arrays), manifest.arrays)
        snapshot = Snapshot(
            step=manifest.step,
            samples=manifest.samples,
            clock=manifest.clock,
            weights=kinds["weights"],
            optimizer=kinds["optimizer"],
            outer=kinds["outer"],
            gathered=kinds["gathered"],
            position=tuple(Taken(share.workers, share.taken) for share in manifest.position),
            schedule_scale=manifest.schedule_scale,
            callbacks=None if manifest.callbacks is None else CallbackMemory(manifest.callbacks, kinds["callbacks"]),
        )
        return Checkpoint(name, manifest, snapshot)

    def _read(self, name: str, file: str, limit: int) -> bytes:
        try:
            data = self._storage.read(f"{name}/{file}", limit)
        except CheckpointError as error:
            raise DamagedError(f"{file} cannot be read: {error}") from None
        except OSError as error:
            if error.errno in _NO_FILE:
                raise DamagedError(f"{file} cannot be read: {error}") from None
            raise
        if data is None:
            raise DamagedError(f"it has no {file}")
        return data

    def latest(self) -> Found:
        """Find the newest checkpoint that is undamaged."""
        passed_over: list[str] = []
        for name in reversed(self.names()):
            try:
                return Found(self.read(name), tuple(passed_over))
            except DamagedError as error:
                passed_over.append(f"{self.url}/{name} cannot be trusted: {error}")
        return Found(None, tuple(passed_over))

    def discard_after(self, step: int, attempt: int) -> None:
        """Delete what `attempt` wrote after `step`, from which it now trains again."""
        for name in self._storage.names():
            if (parsed := parsed_name(name)) is not None and parsed.attempt == attempt and parsed.step > step:
                self._storage.remove(name)

    def prune(self, keep: int) -> None:
        """Delete all but the last `keep` checkpoints and the best state."""
        for name in self.names()[:-keep]:
            self._storage.remove(name)

    def best(self, metric: str, *, maximize: bool) -> float | None:
        """Score of the best state; None if there is none for this metric."""
        scores: list[float] = []
        for name in self._names(best=True):
            with contextlib.suppress(DamagedError):
                score = self.manifest(name).score
                if score is not None and score.metric == metric:
                    scores.append(score.value)
        return (max if maximize else min)(scores, default=None)

    def _names(self, *, best: bool) -> list[str]:
        return [name for name in self._storage.names() if (parsed := parsed_name(name)) and parsed.best == best]

    def clean(self) -> None:
        self._storage.clean()

    def free_bytes(self) -> int | None:
        return self._storage.free_bytes()


def none_usable(found: Sequence[str], url: str) -> str:
    """Error message for a run whose checkpoints are all damaged; `found` holds one message for each."""
    return (
        f"None of the {len(found)} checkpoints in {url} can be trusted, so there is nothing to resume from: "
        f"{'; '.join(found[:3])}{'; ...' if len(found) > 3 else ''}. Restore a copy of one of them, or start a new run."
    )
