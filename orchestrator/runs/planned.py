"""A run that is planned, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs.checkpoints import Resumed
from orchestrator.runs.watcher import Stops
from orchestrator.spec.run import RunSpec


@dataclass(frozen=True)
class Planned:
    """A run to execute in folder `path`."""

    spec: RunSpec
    path: Path
    run_id: str
    claimed: bool = False
    """The folder is already claimed for this run."""
    resumed: Resumed | None = None
    """Where to continue, for a run that is resumed."""
    stops: Stops | None = None
    """When to stop it early."""
