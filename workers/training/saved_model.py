"""Writes a model that a run trained: `python -m workers.training.saved_model`, with a request on standard input.

A process of its own, because the driver never imports TensorFlow or a job's code. The request is one JSON document with
the fields of `Request`; the answer, on stdout, one line of JSON: `{"error": ..., "kind": ...}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

    from workers.snapshot import Snapshot

Format = Literal["keras", "savedmodel", "weights"]


@dataclass(frozen=True)
class Request:
    """What to write, where, and from what."""

    format: Format
    out: str
    model: str | None
    """The run's `model.keras`; None if there is none."""
    checkpoint: Mapping[str, str] | None = None
    """`destination`, `run_id` and `name` of the checkpoint whose weights the model gets; None for those it has."""
    job: str = ""
    """With `directory`, `params` and `seed`: builds the model where `model` cannot be read."""
    directory: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


class Unreadable(Exception):  # noqa: N818 - the driver makes the error
    """The model, or the checkpoint, cannot be read."""

    def __init__(self, kind: Literal["model", "job", "checkpoint"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


def write(request: Request) -> None:
    """Write the model; raises Unreadable. Errors of the file system are raised as they are."""
    snapshot = None if request.checkpoint is None else _snapshot(**request.checkpoint)
    model = _model(request, fresh=snapshot is not None)
    if snapshot is not None:
        _restore(model, snapshot)
    if request.format == "savedmodel":
        model.export(request.out, verbose=False)
    elif request.format == "keras":
        model.save(request.out)
    else:
        model.save_weights(request.out)


def _snapshot(destination: str, run_id: str, name: str) -> Snapshot:
    from workers.checkpoints.destination import open_storage
    from workers.checkpoints.errors import CheckpointError, DamagedError
    from workers.checkpoints.store import CheckpointStore

    try:
        return CheckpointStore(open_storage(destination), run_id).read(name).snapshot
    except (CheckpointError, DamagedError, OSError) as error:
        raise Unreadable("checkpoint", str(error)) from None


def _model(request: Request, *, fresh: bool) -> keras.Model:
    """The run's model; with `fresh`, whose weights are replaced, the job builds it if it cannot be read."""
    import keras

    problem = "the run has no model.keras"
    if request.model is not None:
        try:
            return keras.saving.load_model(request.model, compile=False)
        except (TypeError, ValueError, ImportError) as error:
            problem = str(error).strip()
    if not fresh:
        raise Unreadable("model", problem)
    return _built(request)


def _built(request: Request) -> keras.Model:
    from jobs.api import DataContext, TaskContext
    from jobs.loading import load_job_class, validate_params

    try:
        job_class = load_job_class(request.job, request.directory)
        job = job_class(validate_params(job_class, request.params))
        job.begin_task(TaskContext(Path(request.directory), request.seed))
        model = job.build_model()
        if not model.built:
            model._symbolic_build(data_batch=next(iter(job.train_dataset(DataContext(1, seed=request.seed)))))
    except Exception as error:
        raise Unreadable("job", f"{type(error).__name__}: {error}") from error
    model.compiled = False  # or an optimizer that has never been used would be saved with it
    return model


def _restore(model: keras.Model, snapshot: Snapshot) -> None:
    from workers.model import state

    try:
        state.write(state.state_variables(model), snapshot.weights, "weights")
    except ValueError as error:
        raise Unreadable("checkpoint", f"its weights are not those of this model: {error}") from None


def _answer() -> dict[str, str | None]:
    with redirect_stdout(sys.stderr):  # the job's code may print
        try:
            write(Request(**json.load(sys.stdin)))
        except Unreadable as error:
            return {"error": str(error), "kind": error.kind}
    return {"error": None, "kind": None}


if __name__ == "__main__":
    answer = _answer()
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
