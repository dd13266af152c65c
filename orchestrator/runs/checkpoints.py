"""Continues from checkpoints: a new attempt claims the run's checkpoints, and starts from the last valid one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.control.coordinator import Tick
from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import CHECKPOINTS
from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.store import Checkpoint, CheckpointStore, Found, none_usable
from workers.messages import Checkpointing, Leg, Spent, Start
from workers.news import CheckpointWritten
from workers.settings import ReplicaSettings
from workers.snapshot import Snapshot


@dataclass(frozen=True)
class Resumed:
    """When a run continues."""

    attempt: int
    """Number of its next attempt."""
    clock: float
    """Its clock in seconds."""
    spent: Spent = field(default_factory=dict)
    """What of it was no training step."""
    modes: tuple[str, ...] = ()
    """The modes in which it has trained, of which its checkpoints may be; empty if that is the spec's alone."""
    stage: int = 0
    """Index of the mode in which it continues, of those that the spec's trains in one after another."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a new attempt starts."""

    leg: Leg
    snapshot: Snapshot | None
    """Snapshot from which the leader starts; None for step 0."""
    notes: tuple[str, ...] = ()
    """One line about each damaged checkpoint that was skipped."""
    name: str | None = None
    """Name of the checkpoint."""


def checkpointing(spec: RunSpec, run_id: str, path: Path, workers: int) -> Checkpointing | None:
    """Settings for checkpoints of the run in folder `path`, with `workers` workers; None if they are switched off."""
    if spec.checkpoint_every is None and not spec.checkpoint_seconds:
        return None
    target = spec.parsed_target
    return Checkpointing(
        destination=destination(spec, run_id, path),
        workers=workers,
        metric=target.metric if target else "val_loss",
        maximize=target is not None and target.op in (">=", ">"),
    )


def destination(spec: RunSpec, run_id: str, path: Path) -> str:
    """The run's storage for checkpoints: under the one that the spec names, or in the run's folder."""
    if spec.checkpoints is None:
        return str(path.absolute() / CHECKPOINTS)
    base, mark, options = spec.checkpoints.partition("?")
    folder = f"{base.rstrip('/')}/{run_id}"
    return f"{folder}{mark}{options}" if "://" in base else str(Path(folder).absolute())


def unseen_checkpoints(destination: str) -> str | None:
    """A warning if this machine cannot see the checkpoints that were written, and so could not continue from them."""
    if "://" in destination or any(Path(destination).glob("*-*/manifest.json")):
        return None
    return (
        f"checkpoints go to {destination} on another host, where this machine cannot read them: a restart would begin "
        "at step 0. Set --checkpoints to a folder that all hosts share, or to a URI (s3://bucket/folder)."
    )


def first_written(tick: Tick) -> CheckpointWritten | None:
    """The first checkpoint reported in this tick."""
    written = (news for status in tick.statuses for news in status.news if isinstance(news, CheckpointWritten))
    return next(written, None)


def check_destination(spec: RunSpec, run_id: str, path: Path) -> None:
    """Check the storage for checkpoints before a new run starts.

    Raises:
        UsageError: the storage cannot be reached, or contains checkpoints of another run.
    """
    settings = checkpointing(spec, run_id, path, spec.workers)
    if settings is None or spec.checkpoints is None:
        return
    try:
        store = CheckpointStore(open_storage(settings.destination), run_id)
        taken = store.attempt()
        if not taken:
            store.claim(1)
    except (CheckpointError, OSError) as error:
        raise UsageError(f"checkpoints: {settings.destination.partition('?')[0]} cannot be used: {error}") from None
    if taken:
        raise UsageError(
            f"checkpoints: {store.url} contains those of an earlier run with the same name. Choose another --run-id, "
            "or continue the earlier run with `regatta resume` and its folder."
        )


def resume_point(leg: Leg, resumed: Resumed) -> ResumePoint:
    """Where another attempt continues the run; step 0 if there is no checkpoint yet.

    After this, earlier attempts cannot write checkpoints.

    Raises:
        ClusterError: the checkpoints cannot be reached, or none of them can be trusted.
    """
    from_zero = replace(leg, attempt=resumed.attempt, start=Start(0, 0, resumed.clock, spent=resumed.spent))
    settings = leg.checkpoints
    if settings is None:
        return ResumePoint(from_zero, None)
    store, found = _claim(settings.destination, leg.run_id, resumed.attempt)
    checkpoint = found.checkpoint
    if checkpoint is None and found.passed_over:
        raise ClusterError(none_usable(found.passed_over, store.url))
    if checkpoint is None:
        return ResumePoint(from_zero, None)
    _check_fits(checkpoint, leg.settings, resumed.modes, store.url)
    snapshot = checkpoint.snapshot
    start = Start(
        step=snapshot.step,
        samples=snapshot.samples,
        clock=max(resumed.clock, snapshot.clock),
        schedule_scale=snapshot.schedule_scale,
        position=snapshot.position,
        spent=resumed.spent,
    )
    return ResumePoint(replace(from_zero, start=start), snapshot, found.passed_over, checkpoint.name)


def _claim(destination: str, run_id: str, attempt: int) -> tuple[CheckpointStore, Found]:
    try:
        store = CheckpointStore(open_storage(destination), run_id)
        store.claim(attempt)
        return store, store.latest()
    except (CheckpointError, OSError) as error:
        raise ClusterError(f"The run's checkpoints cannot be read: {error}") from None


def _check_fits(checkpoint: Checkpoint, settings: ReplicaSettings, modes: tuple[str, ...], url: str) -> None:
    """Raises ClusterError if the checkpoint was written with another seed or batch size, or in none of the `modes`."""
    manifest = checkpoint.manifest
    stored = (manifest.seed, manifest.batch_size, manifest.mode)
    wanted = (settings.seed, settings.batch_size, settings.mode)
    if stored != wanted and (stored[:2] != wanted[:2] or stored[2] not in modes):
        raise ClusterError(
            f"{url}/{checkpoint.name} has seed {stored[0]}, batch size {stored[1]} and mode {stored[2]}; the run has "
            f"seed {wanted[0]}, batch size {wanted[1]} and mode {wanted[2]}, and cannot continue from it."
        )
