"""What a script asks for, seen before it is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.scripts import folders
from jobs.scripts.capture import Seen, look_ahead
from jobs.scripts.fit_call import FitCall
from jobs.scripts.job import ScriptJob


@dataclass(frozen=True)
class Look:
    """What is known of a job before it is trained."""

    defaults: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    """Params that had no value."""
    notes: Sequence[str] = ()


def look(job: ScriptJob, directory: str) -> Look:
    """Run the script up to its `fit`, for `directory`, to see what it asks for. Its files go to a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch, folders.within(Path(directory), Path(scratch)):
        found, execution = look_ahead(job.script(0), job.params.fit)
    *earlier, last = found
    defaults = _budget(last.call) | {"earlier_fits": [{"line": one.where, **_budget(one.call)} for one in earlier]}
    return Look(defaults, {"fit": len(found)}, [*execution.notes, *_told(job, earlier)])


def _budget(call: FitCall) -> dict[str, Any]:
    """The fields of a spec that the arguments of a `fit` say."""
    fields: dict[str, Any] = {"global_batch_size": call.data.batch_size, "epochs": call.epochs - call.initial_epoch}
    if call.validation is not None and call.validation_steps:
        fields["eval_steps"] = call.validation_steps
    return fields


def _told(job: ScriptJob, earlier: Sequence[Seen]) -> list[str]:
    name, last = job.file.name, len(earlier) + 1
    if job.params.fit is None and earlier:
        return [
            f"{name} calls fit {last} times: each is trained in the run's mode, one after another, and the last is "
            "judged (--fit N chooses another)"
        ]
    return []
