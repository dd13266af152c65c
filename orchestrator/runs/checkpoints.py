"""Going on from a checkpoint: a new attempt claims the run's checkpoints, and starts from the last whole one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import ClusterError, UsageError
from orchestrator.spec.run import RunSpec
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.store import Checkpoint, CheckpointStore, Found, none_usable, open_storage
from workers.messages import Checkpointing, Leg, Start
from workers.settings import ReplicaSettings
from workers.snapshot import Snapshot

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Resumed:
    """A run that is taken up again in its own folder."""

    attempt: int
    """The number of the attempt that begins."""
    clock: float
    """Where the training clock goes on, seconds."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a new attempt begins."""

    leg: Leg
    snapshot: Snapshot | None
    """For the leader; None from the beginning."""
    notes: tuple[str, ...] = ()
    """One line on every damaged checkpoint that was passed over."""
    name: str | None = None
    """Of the checkpoint."""


def checkpointing(spec: RunSpec, run_id: str, path: Path, workers: int) -> Checkpointing | None:
    """Where the run in folder `path` writes checkpoints, with so many workers; None if they are switched off."""
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
    """The run's own folder for checkpoints: below the place that the spec names, or in the run's folder."""
    if spec.checkpoints is None:
        return str(path.absolute() / CHECKPOINTS)
    base, mark, options = spec.checkpoints.partition("?")
    folder = f"{base.rstrip('/')}/{run_id}"
    return f"{folder}{mark}{options}" if "://" in base else str(Path(folder).absolute())


def out_of_sight(destination: str) -> str | None:
    """What to tell if this machine sees none of the checkpoints that are written: it could not go on from them."""
    if "://" in destination or any(Path(destination).glob("*-*/manifest.json")):
        return None
    return (
        f"checkpoints go to {destination} on another host, out of this machine's sight: after a restart the run would "
        "begin anew. Give --checkpoints a folder that all hosts share, or a URI (s3://bucket/folder)."
    )


def check_destination(spec: RunSpec, run_id: str, path: Path) -> None:
    """Before a new run begins.

    Raises:
        UsageError: its checkpoints cannot go where the spec says: out of reach, or taken by another run.
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
            f"checkpoints: {store.url} holds those of an earlier run of this name. Give this run another --run-id, or "
            "go on with the earlier one: `regatta resume` and its folder."
        )


def continued(leg: Leg, attempt: int, clock: float) -> ResumePoint:
    """The leg with which `attempt` takes the run up again, at training clock `clock`.

    From here on writers of earlier attempts refuse. Where no checkpoint was written yet, the run begins anew.

    Raises:
        ClusterError: there are checkpoints, and none of them can be trusted; or they cannot be reached.
    """
    again = replace(leg, attempt=attempt, start=Start(0, 0, clock))
    settings = leg.checkpoints
    if settings is None:
        return ResumePoint(again, None)
    store, found = _take_over(settings.destination, leg.run_id, attempt)
    checkpoint = found.checkpoint
    if checkpoint is None and found.passed_over:
        raise ClusterError(none_usable(found.passed_over, store.url))
    if checkpoint is None:
        return ResumePoint(again, None)
    _check_fits(checkpoint, leg.settings, store.url)
    snapshot = checkpoint.snapshot
    start = Start(
        step=snapshot.step,
        samples=snapshot.samples,
        clock=max(clock, snapshot.clock),
        schedule_scale=snapshot.schedule_scale,
        position=snapshot.position,
    )
    return ResumePoint(replace(again, start=start), snapshot, found.passed_over, checkpoint.name)


def _take_over(destination: str, run_id: str, attempt: int) -> tuple[CheckpointStore, Found]:
    try:
        store = CheckpointStore(open_storage(destination), run_id)
        store.claim(attempt)
        return store, store.latest()
    except (CheckpointError, OSError) as error:
        raise ClusterError(f"The run's checkpoints cannot be read: {error}") from None


def _check_fits(checkpoint: Checkpoint, settings: ReplicaSettings, url: str) -> None:
    """Raises ClusterError if the checkpoint counts in other units than the leg does."""
    manifest = checkpoint.manifest
    told = (manifest.seed, manifest.batch_size, manifest.mode)
    asked = (settings.seed, settings.batch_size, settings.mode)
    if told != asked:
        raise ClusterError(
            f"{url}/{checkpoint.name} is of seed {told[0]}, batch size {told[1]} and mode {told[2]}; the run has seed "
            f"{asked[0]}, batch size {asked[1]} and mode {asked[2]}, and cannot continue from it."
        )
