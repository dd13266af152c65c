"""Changes of a run's mode: `regatta resume --mode`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.store.metrics import METRICS
from orchestrator.store.summaries import modes, switches
from orchestrator.text import plural
from workers.checkpoints.store import Checkpoint
from workers.modes.registry import in_stages, stages


def modes_so_far(path: Path, first: str) -> tuple[str, ...]:
    """The modes in which the run in folder `path` has trained, each once, the latest last; it began in `first`.

    Raises:
        UsageError: the run's events cannot be read.
    """
    if not (path / METRICS).is_file():
        return (first,)
    try:
        later = modes(path)
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise UsageError(f"{path / METRICS} cannot be read ({error}), so the run cannot be resumed.") from None
    return tuple(reversed(dict.fromkeys([*reversed(later), first])))


def stage_at(path: Path, mode: str, step: int) -> int:
    """The stage in which the run in folder `path` continues from a checkpoint of `step` in `mode`.

    Where the change is not recorded, the stage before it has no step left and ends at once.
    """
    if len(stages(mode)) == 1 or not (path / METRICS).is_file():
        return 0
    try:
        found = switches(path)
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise UsageError(f"{path / METRICS} cannot be read ({error}), so the run cannot be resumed.") from None
    return max((change["stage"] for change in found if change["of"] == mode and change["step"] <= step), default=0)


def told(checkpoint: Checkpoint, mode: str, stage: int = 0) -> str:
    """What is to be said of going on from `checkpoint` in `mode`; empty if that is the mode it was written in.

    Raises:
        UsageError: the checkpoint has a state that another mode would lose.
    """
    before, snapshot = checkpoint.manifest.mode, checkpoint.snapshot
    if before == mode:
        return ""
    if snapshot.outer:
        raise UsageError(
            f"mode: the checkpoint of step {snapshot.step:,} holds the momentum of the outer optimizer of "
            f"{before}, which {mode} would lose. Resume it in mode {before}, or start a run from the exported model."
        )
    own = in_stages(mode)
    if before in own:
        return f"in {own[stage]}, of {mode}"
    waiting = int(snapshot.gathered[0][0]) if snapshot.gathered else 0
    dropped = f"; {plural(waiting, 'gradient')} that waited for others in {before} are dropped" if waiting else ""
    return f"in mode {mode}, after {before}{dropped}"
