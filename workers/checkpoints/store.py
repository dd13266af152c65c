"""One run's checkpoints in their place: written by one attempt, read by the next."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.checkpoints import arrays
from workers.checkpoints.errors import CheckpointError, DamagedError, FencedError
from workers.checkpoints.manifest import ARRAYS, MANIFEST, MAX_BYTES, Manifest, Score, Share, from_bytes, to_bytes
from workers.checkpoints.storage import FENCE, LocalStorage, Name, Storage, parsed_name
from workers.messages import Dealt
from workers.snapshot import Snapshot

_FENCE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified."""

    name: str
    manifest: Manifest
    snapshot: Snapshot


@dataclass(frozen=True)
class Found:
    checkpoint: Checkpoint | None
    passed_over: tuple[str, ...]
    """Of each damaged one that is newer: what is wrong with it."""


class CheckpointStore:
    """The checkpoints of run `run_id` in `place`."""

    def __init__(self, storage: Storage, run_id: str) -> None:
        self._storage = storage
        self._run_id = run_id

    @property
    def url(self) -> str:
        return self._storage.url

    def names(self) -> list[str]:
        """Of those that can be gone on from, in the order in which they were written."""
        return self._named(best=False)

    def attempt(self) -> int:
        """The latest attempt that has claimed this place; 0 for none.

        Raises:
            CheckpointError: what should tell is damaged, or another run's.
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
                "run is alive, remove this file."
            ) from None
        if run_id != self._run_id:
            raise CheckpointError(
                f"{self.url} holds the checkpoints of another run, {str(run_id)[:100]!r}. Give each run a place of "
                "its own."
            )
        return attempt

    def claim(self, attempt: int) -> None:
        """From now on nobody but `attempt` may write here, and later ones.

        Raises:
            FencedError: a later one has claimed it already.
        """
        with self._storage.locked():
            self.check(attempt)
            if self.attempt() != attempt:
                self._storage.put(FENCE, json.dumps({"attempt": attempt, "run_id": self._run_id}).encode())

    def check(self, attempt: int) -> None:
        """Raises FencedError if an attempt later than `attempt` has claimed this place."""
        latest = self.attempt()
        if latest > attempt:
            raise FencedError(
                f"attempt {latest} of the run has taken over its checkpoints in {self.url}: attempt {attempt}, which "
                "was taken for lost, must not write any more and ends"
            )

    def write(
        self, snapshot: Snapshot, attempt: int, about: Mapping[str, Any], score: Score | None = None
    ) -> tuple[str, int]:
        """Write a checkpoint. Returns its name and its bytes.

        `about` has the manifest's fields that the snapshot does not have. With a `score` it takes the place of the
        best state so far. What is scored was read while training went on: in async its weights may hold updates that
        nobody had reported, so it tells nothing of what was taken of the data, and is not gone on from.

        Raises:
            FencedError: a later attempt has taken over.
            CheckpointError, OSError: it could not be written; nothing of it is left.
        """
        name = str(Name(attempt, snapshot.step, best=score is not None))
        position = snapshot.position if score is None else ()
        described = arrays.described(snapshot)
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
                position=tuple(Share(workers=dealt.workers, taken=dealt.taken) for dealt in position),
                score=score,
                callbacks=None if snapshot.callbacks is None else snapshot.callbacks.document,
                arrays=described,
                files={ARRAYS: file},
                **about,
            )
            data = to_bytes(manifest)
            draft.finish(data, lambda: self.check(attempt))
        for other in self._named(best=True) if score is not None else ():
            if other != name:
                self._storage.remove(other)
        return name, file.size + len(data)

    def manifest(self, name: str) -> Manifest:
        """Raises DamagedError."""
        try:
            data = self._storage.read(f"{name}/{MANIFEST}", MAX_BYTES)
        except (CheckpointError, OSError) as error:
            raise DamagedError(f"{MANIFEST} cannot be read: {error}") from None
        if data is None:
            raise DamagedError(f"it has no {MANIFEST}")
        manifest = from_bytes(data)
        if manifest.run_id != self._run_id:
            raise DamagedError(f"it is another run's, {manifest.run_id[:100]!r}")
        told = Name(manifest.attempt, manifest.step, best=manifest.score is not None)
        if parsed_name(name) != told:
            raise DamagedError(f"by its {MANIFEST} its name would be {told}")
        return manifest

    def read(self, name: str) -> Checkpoint:
        """The checkpoint in folder `name`, verified.

        Raises:
            DamagedError: it is not what was written.
        """
        manifest = self.manifest(name)
        told = manifest.files[ARRAYS]
        try:
            data = self._storage.read(f"{name}/{ARRAYS}", told.size)
        except (CheckpointError, OSError) as error:
            raise DamagedError(f"{ARRAYS} is not as it was written: {error}") from None
        if data is None:
            raise DamagedError(f"it has no {ARRAYS}")
        if len(data) != told.size:
            raise DamagedError(f"{ARRAYS} has {len(data)} bytes of {told.size}: it is torn")
        if hashlib.sha256(data).hexdigest() != told.sha256:
            raise DamagedError(f"{ARRAYS} was changed: its SHA-256 is not that of the manifest")
        kinds = arrays.snapshot_arrays(arrays.read(data, manifest.arrays), manifest.arrays)
        snapshot = Snapshot(
            step=manifest.step,
            samples=manifest.samples,
            clock=manifest.clock,
            weights=kinds["weights"],
            optimizer=kinds["optimizer"],
            position=tuple(Dealt(share.workers, share.taken) for share in manifest.position),
            schedule_scale=manifest.schedule_scale,
            callbacks=arrays.memory(manifest.callbacks, kinds["callbacks"]),
        )
        return Checkpoint(name, manifest, snapshot)

    def latest(self) -> Found:
        """The last checkpoint that is whole."""
        passed_over: list[str] = []
        for name in reversed(self.names()):
            try:
                return Found(self.read(name), tuple(passed_over))
            except DamagedError as error:
                passed_over.append(f"{self.url}/{name} cannot be trusted: {error}")
        return Found(None, tuple(passed_over))

    def discard_after(self, step: int, attempt: int) -> None:
        """Take away what `attempt` wrote after `step`, which it went back to."""
        for name in self._storage.names():
            if (parsed := parsed_name(name)) is not None and parsed.attempt == attempt and parsed.step > step:
                self._storage.remove(name)

    def prune(self, keep: int) -> None:
        """Leave the last `keep`, and the best state."""
        for name in self.names()[:-keep]:
            self._storage.remove(name)

    def best(self, metric: str, *, maximize: bool) -> float | None:
        """The score of the best state; None if there is none by this metric."""
        scores: list[float] = []
        for name in self._named(best=True):
            with contextlib.suppress(DamagedError):
                score = self.manifest(name).score
                if score is not None and score.metric == metric:
                    scores.append(score.value)
        return (max if maximize else min)(scores, default=None)

    def _named(self, *, best: bool) -> list[str]:
        return [name for name in self._storage.names() if (parsed := parsed_name(name)) and parsed.best == best]

    def clean(self) -> None:
        self._storage.clean()

    def free_bytes(self) -> int | None:
        return self._storage.free_bytes()


def none_usable(found: Sequence[str], url: str) -> str:
    """The paragraph for a run none of whose checkpoints can be trusted."""
    return (
        f"None of the {len(found)} checkpoints in {url} can be trusted, so there is nothing to go on from: "
        f"{'; '.join(found[:3])}{'; ...' if len(found) > 3 else ''}. Put back a copy of one of them, or start anew."
    )


def open_storage(destination: str) -> Storage:
    """The place that `destination`, a path or a URI, means.

    Raises:
        CheckpointError: the URI is not one that `pyarrow.fs` knows.
    """
    if destination.startswith("file://"):
        destination = destination.removeprefix("file://")
    if "://" not in destination:
        return LocalStorage(Path(destination))
    from workers.checkpoints.remote import RemoteStorage

    return RemoteStorage(destination)
