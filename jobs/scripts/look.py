"""What a script asks for, seen before it is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.scripts import folders
from jobs.scripts.capture import Seen, look_ahead
from jobs.scripts.job import ScriptJob


@dataclass(frozen=True)
class Look:
    """What is known of a job before it is trained."""

    defaults: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    """Params that were found out."""
    notes: Sequence[str] = ()


def look(job: ScriptJob, directory: str) -> Look:
    """Run the script up to its `fit`, for `directory`, to see what it asks for. Its files go to a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch, folders.within(Path(directory), Path(scratch)):
        found, execution = look_ahead(job.script(0), job.params.fit)
    earlier = found[:-1]
    budgets = [one.call.budget() for one in found]
    as_tried = [{"eval_steps": None, **budget} for budget in budgets]
    fits = [{"line": one.where, **budget} for one, budget in zip(earlier, budgets, strict=False)]
    return Look(
        budgets[-1] | {"earlier_fits": fits},
        {"fit": len(found), "as_tried": as_tried},
        [*execution.notes, *_told(job, earlier)],
    )


def _told(job: ScriptJob, earlier: Sequence[Seen]) -> list[str]:
    name, last = job.file.name, len(earlier) + 1
    if job.params.fit is None and earlier:
        return [
            f"{name} calls fit {last} times: each is trained in the run's mode, one after another, and the last is "
            "judged (--fit N chooses another)"
        ]
    return []
