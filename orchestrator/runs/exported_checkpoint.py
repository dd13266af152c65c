"""Finds the checkpoint of a run that `regatta export --step` or `--best` is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.runs.checkpoints import destination
from orchestrator.spec import trust
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import SPEC
from orchestrator.store.folders import is_run, load_spec
from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError
from workers.checkpoints.storage import Name, parsed_name


@dataclass(frozen=True)
class ChosenCheckpoint:
    """A checkpoint, and what builds the model where the run has not written one."""

    destination: str
    run_id: str
    name: str
    job: str
    directory: str
    params: dict[str, Any]
    seed: int

    def request(self) -> dict[str, Any]:
        """Its fields of `workers.training.saved_model.Request`."""
        fields = asdict(self)
        return {"checkpoint": {name: fields.pop(name) for name in ("destination", "run_id", "name")}, **fields}


def chosen_checkpoint(run: Path, *, step: int | None, best: bool) -> ChosenCheckpoint | None:
    """The checkpoint of `step`, or the best state; None if neither is asked for.

    Raises:
        UsageError: both are asked for, the run has no such checkpoint, or they cannot be reached.
    """
    if step is None and not best:
        return None
    if step is not None and best:
        raise UsageError("--step and --best name two checkpoints. Give one of them.")
    if not is_run(run):
        raise UsageError(f"{run} is not the folder of a run.")
    given = load_spec(run)
    trust.check(run / SPEC, given, {})
    try:
        spec = RunSpec.make(given)
    except SpecError as error:
        raise UsageError(error.message) from None
    run_id = spec.run_id or run.name
    where = destination(spec, run_id, run)
    try:
        storage = open_storage(where)
        found = [name for folder in storage.names() if (name := parsed_name(folder)) is not None]
    except (CheckpointError, OSError) as error:
        raise UsageError(f"The checkpoints of {run} cannot be read: {error}") from None
    name = _chosen(found, step, f"{run} ({storage.url})")
    return ChosenCheckpoint(where, run_id, str(name), spec.job, spec.directory, dict(spec.params), spec.seed)


def _chosen(found: list[Name], step: int | None, where: str) -> Name:
    fitting = [name for name in found if (name.best if step is None else name.step == step)]
    if fitting:
        return max(fitting, key=lambda name: (name.attempt, name.step, not name.best))
    steps = sorted({name.step for name in found})
    kept = f"It has those of step {', '.join(map(str, steps[-10:]))}." if steps else "It has none."
    wanted = (
        "best state (a run keeps one if it is evaluated, and writes checkpoints)" if step is None else f"step {step}"
    )
    raise UsageError(f"{where} has no checkpoint of {wanted}. {kept}")
