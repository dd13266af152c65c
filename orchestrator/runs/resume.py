"""`regatta resume`: continues a run in its folder after its driver has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.runs.earlier_fits import told_start
from orchestrator.runs.mode_changes import modes_so_far
from orchestrator.runs.planned import Planned
from orchestrator.runs.starts import find_start
from orchestrator.spec import trust
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RESULT, SPEC
from orchestrator.store.folders import load_result, load_spec
from orchestrator.store.locks import check_not_driven
from orchestrator.store.versions import other_version


def plan_resume(path: Path, changes: Mapping[str, Any]) -> tuple[Planned, str]:
    """The run in folder `path`, with `changes` to its spec, planned to continue; and where it continues, in words.

    Raises:
        UsageError: there is no run, it has succeeded, its driver is still running, or none of its checkpoints can be
            trusted.
    """
    given = load_spec(path)
    modes = modes_so_far(path, str(given.get("mode")))
    spec, run_id = _changed(path, given, {"mode": modes[-1]} | {k: v for k, v in changes.items() if v is not None})
    if (path / RESULT).exists() and (result := load_result(path)).status == "succeeded":
        raise UsageError(
            f"The run in {path} has succeeded ({result.stop_reason}), so there is nothing to resume. To train longer, "
            "start a run with a larger budget."
        )
    check_not_driven(path)
    if spec.ends_at_fit:
        raise UsageError(
            f"The run in {path} is an earlier fit of another run: `regatta resume {path.parents[1]}` continues that, "
            "with this fit if it has not ended."
        )
    resumed, start = find_start(spec, run_id, path)
    planned = Planned(spec, path, run_id, claimed=True, resumed=replace(resumed, modes=modes))
    return planned, told_start(planned, start)


def _changed(path: Path, given: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[RunSpec, str]:
    """The spec of the run in folder `path`, which is `given`, with `changes`; and the run's id.

    Raises:
        UsageError: it is not valid.
    """
    trust.check(path / SPEC, given, changes)
    # The checkpoints are of batches of `batch_size`, also if there are fewer workers to share a step now.
    changed = {key: value for key, value in changes.items() if value is not None}
    values = dict(given) | {"global_batch_size": None} | changed
    try:
        spec = RunSpec.make(values)
    except SpecError as error:
        raise UsageError(f"{error.message}{other_version(path)}") from None
    return spec, spec.run_id or path.name
