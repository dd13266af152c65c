"""Resolves the job reference that a user typed, with flags, to a validated spec.

Flags take precedence over a YAML file, and both over the job's defaults. The job's code runs in a child process only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.errors import RegattaError, SpecError
from orchestrator.spec import secrets, trust
from orchestrator.spec.before_judged import before_judged
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.earlier_fits import as_given
from orchestrator.spec.job_description import JobDescription, describe_job, tell
from orchestrator.spec.run import RunSpec
from orchestrator.spec.validation import shown
from orchestrator.spec.variants import ALTERNATIVES
from orchestrator.spec.yaml import read_mapping

SPEC_FILES = (".yaml", ".yml")
_Spec = TypeVar("_Spec", RunSpec, CompareSpec)


def resolve_run(job: str, flags: Mapping[str, Any], kind: type[RunSpec] = RunSpec) -> RunSpec:
    """The spec of one run. `flags` are fields from the command line; those that were not given are None."""
    spec = _resolve(kind.make, job, flags, kind)
    before_judged(spec)
    return spec


def resolve_comparison(job: str, flags: Mapping[str, Any], kind: type[RunSpec] = RunSpec) -> CompareSpec:
    """Like `resolve_run`, for a comparison."""
    return _complete_variants(_resolve(lambda values: CompareSpec.make(values, kind), job, flags, kind))


def complete_run(spec: RunSpec) -> RunSpec:
    """`spec`, made in Python, completed as by `resolve_run`: with the job's defaults and validated params."""
    description = _describe(spec, spec.params)
    given = spec.model_dump(include=spec.model_fields_set)
    completed = type(spec).make(_merge(dict(description.defaults), given | _found_out(description, given)))
    before_judged(completed)
    return completed


def job_defaults(spec: RunSpec) -> dict[str, Any]:
    """What the job of `spec`, given its params, says of batches, budget and target."""
    return dict(_describe(spec, spec.params).defaults)


def complete_comparison(spec: CompareSpec) -> CompareSpec:
    """Like `complete_run`, for a comparison."""
    return _complete_variants(spec.model_copy(update={"run": complete_run(spec.run)}))


def _complete_variants(spec: CompareSpec) -> CompareSpec:
    completed = {name: _with_valid_params(spec, name) for name in spec.variants}
    spec = spec.model_copy(update={"variants": completed})
    for run in spec.runs(spec.seeds[0]).values():
        before_judged(run)
    return spec


def _resolve(
    make: Callable[[Mapping[str, Any]], _Spec], job: str, flags: Mapping[str, Any], kind: type[RunSpec]
) -> _Spec:
    given = _fields_of(job)
    wanted = {key: value for key, value in flags.items() if value is not None}
    wanted["params"] = {**_params(given), **wanted.get("params", {})}
    kind.check_names({key: given[key] for key in given if key not in kind.COMPARE_ONLY})
    if job.endswith(SPEC_FILES):
        trust.check(Path(job), given, flags, kind)
    values = _merge(given, wanted)
    if not isinstance(named := values.get("job"), str):
        ways = "name a built-in job, path/file.py:Class or module:Class"
        raise SpecError("job", f"{shown(named)} is not allowed: {ways}")
    checked = make(values)  # report errors before loading the job's code, which may take seconds
    run = checked if isinstance(checked, RunSpec) else checked.run
    description = _describe(run, values["params"])
    if values.get("batch_size") is None and values.get("global_batch_size") is None:
        _say_whose_batches(checked, description)
    return make(_merge(dict(description.defaults), values | _found_out(description, values)))


def _found_out(description: JobDescription, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the job's code decides, whatever else was given."""
    return {
        "params": as_given(description.params, given),
        "earlier_fits": description.defaults.get("earlier_fits", ()),
    }


def _say_whose_batches(spec: RunSpec | CompareSpec, description: JobDescription) -> None:
    """Say once that a script's batch size is of each worker's update, in modes whose workers have no common steps."""
    size = description.defaults.get("global_batch_size")
    runs = [spec] if isinstance(spec, RunSpec) else spec.runs(spec.seeds[0]).values()
    apart = [run.variant_name for run in runs if run.workers > 1 and not run.stages[0].traits.lockstep]
    if size is not None and apart:
        tell.get()(
            f"in {', '.join(apart)}, fit's batch size of {size} is that of each worker's update, not of all workers "
            "together (--global-batch-size chooses another)"
        )


def _with_valid_params(spec: CompareSpec, name: str) -> Mapping[str, Any]:
    """A variant's overrides, with params validated by the job."""
    overrides = spec.variants[name]
    run = spec.variant(name, spec.seeds[0])
    if run.params == spec.run.params:
        return overrides
    kept = {field: value for field, value in overrides.items() if field.partition(".")[0] != "params"}
    return {**kept, **_found_out(_describe(run, run.params), kept)}


def _describe(spec: RunSpec, params: Mapping[str, Any]) -> JobDescription:
    """`describe_job`, with secrets masked in its errors."""
    try:
        secrets.check_params(params, spec.env_secrets)
        description = describe_job(spec.job, spec.directory, params, here=spec.address is None, within=spec.timeout)
    except RegattaError as error:
        raise secrets.masked(error, spec.env_secrets) from None
    secrets.check_params(description.params, spec.env_secrets)
    return description


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings merged, `over` taking precedence; its `samples` or `epochs` replaces either of `under`."""
    kept = dict(under)
    for pair in ALTERNATIVES:
        if any(over.get(field) is not None for field in pair):
            kept = {key: value for key, value in kept.items() if key not in pair}
    return kept | dict(over)


def _fields_of(reference: str) -> dict[str, Any]:
    """Fields given by a job reference: those of a spec file, whose `directory` is relative to the file, or the job."""
    if not reference.endswith(SPEC_FILES):
        return {"job": reference, "directory": os.getcwd()}  # noqa: PTH109 - as the user's shell shows it
    path = Path(reference)
    values = read_mapping(path)
    if isinstance(folder := values.setdefault("directory", ""), str):
        values["directory"] = str(path.resolve().parent / folder)
    return values


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    params = values.get("params") or {}
    if not isinstance(params, dict):
        raise SpecError("params", f"{shown(params)} is not allowed: give a mapping of names to values")
    return params
