"""From the TARGET a user typed, a YAML file and flags, to a validated spec.

Precedence: flags over YAML over the job's own defaults. The job's code runs in a child process only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.errors import JobError, SpecError, UsageError
from orchestrator.spec import secrets
from orchestrator.spec.comparison import CompareSpec, make_compare_spec
from orchestrator.spec.run import RunSpec, check_field_names, make_run_spec, shown
from orchestrator.spec.yaml import read_yaml
from workers.session import python_environment

_BUDGETS = ("samples", "epochs")
_Spec = TypeVar("_Spec", RunSpec, CompareSpec)


@dataclass(frozen=True)
class JobDescription:
    """What a child process found out about a job."""

    name: str
    summary: str
    defaults: Mapping[str, Any]
    params: Mapping[str, Any]
    """Validated, with defaults filled in."""
    schema: Mapping[str, Any]


def resolve_run(target: str, flags: Mapping[str, Any]) -> RunSpec:
    """The spec of one run. `flags` holds the fields given on the command line, None where not given."""
    return _resolve(make_run_spec, target, flags)


def resolve_comparison(target: str, flags: Mapping[str, Any]) -> CompareSpec:
    return _complete_variants(_resolve(make_compare_spec, target, flags))


def complete_run(spec: RunSpec) -> RunSpec:
    """A spec made in Python, with what `resolve_run` adds: the job's defaults where it says nothing, valid params."""
    description = _describe(spec, spec.params)
    given = spec.model_dump(include=spec.model_fields_set)
    return make_run_spec(_merge(dict(description.defaults), given | {"params": dict(description.params)}))


def complete_comparison(spec: CompareSpec) -> CompareSpec:
    return _complete_variants(spec.model_copy(update={"run": complete_run(spec.run)}))


def _complete_variants(spec: CompareSpec) -> CompareSpec:
    return spec.model_copy(update={"variants": {name: _with_valid_params(spec, name) for name in spec.variants}})


def _resolve(make: Callable[[Mapping[str, Any]], _Spec], target: str, flags: Mapping[str, Any]) -> _Spec:
    given = _from_target(target)
    wanted = {key: value for key, value in flags.items() if value is not None}
    wanted["params"] = {**_params(given), **wanted.get("params", {})}
    check_field_names(key for key in given if key not in RunSpec.COMPARE_ONLY)
    values = _merge(given, wanted)
    if not isinstance(job := values.get("job"), str):
        ways = "name a built-in job, path/file.py:Class or module:Class"
        raise SpecError("job", f"{shown(job)} is not allowed: {ways}")
    checked = make(values)  # before the job's code runs, which may take seconds
    run = checked if isinstance(checked, RunSpec) else checked.run
    description = _describe(run, values["params"])
    return make(_merge(dict(description.defaults), values | {"params": dict(description.params)}))


def _with_valid_params(spec: CompareSpec, name: str) -> Mapping[str, Any]:
    """A variant's overrides, its params validated by the job as the shared ones were."""
    overrides = spec.variants[name]
    run = spec.variant(name, spec.seeds[0])
    if run.params == spec.run.params:
        return overrides
    kept = {field: value for field, value in overrides.items() if field.partition(".")[0] != "params"}
    return {**kept, "params": dict(_describe(run, run.params).params)}


def _describe(spec: RunSpec, params: Mapping[str, Any]) -> JobDescription:
    """`describe_job`, whose failures may hold what is secret."""
    try:
        return describe_job(spec.job, spec.directory, params, here=spec.address is None)
    except JobError as error:
        raise secrets.without(error, spec.env_secrets) from None


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` wins; a budget in it replaces the budget of the other kind as well."""
    kept = dict(under)
    if any(over.get(budget) is not None for budget in _BUDGETS):
        kept = {key: value for key, value in kept.items() if key not in _BUDGETS}
    return kept | dict(over)


def _from_target(target: str) -> dict[str, Any]:
    if target.endswith((".yaml", ".yml")):
        return read_yaml(Path(target))
    return {"job": target, "directory": os.getcwd()}  # noqa: PTH109 - kept as the user's shell has it


def _params(values: Mapping[str, Any]) -> dict[str, Any]:
    params = values.get("params") or {}
    if not isinstance(params, dict):
        raise SpecError("params", f"{shown(params)} is not allowed: give a mapping of names to values")
    return params


def describe_job(job: str, directory: str, params: Mapping[str, Any], *, here: bool = False) -> JobDescription:
    """Load the job in a child process and validate its params there; and its data, if it is to run `here`.

    Raises:
        SpecError: there is no such job, or a param is wrong.
        UsageError: a data file is missing.
        JobError: the user's module raised while it was imported.
    """
    request = {"target": job, "directory": directory, "params": dict(params), "check_data": here}
    answers = _ask_child(request)
    return _description(job, answers[0])


def _ask_child(request: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The answers of `jobs.describe`: on one job, or on all built-in ones."""
    reader, writer = os.pipe()
    # Files, not pipes: whatever a user's module prints while it is imported, nobody waits for anybody.
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as errors:
        question.write(json.dumps(request, default=str).encode())
        question.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs.describe", str(writer)],
            pass_fds=[writer],
            stdin=question,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=python_environment() | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        ) as child:
            os.close(writer)
            try:
                with os.fdopen(reader) as answer:
                    text = answer.read()
            except KeyboardInterrupt:
                child.kill()
                raise
            if text:
                child.kill()  # a thread that the user's module started would keep it
        if text:
            answers: list[dict[str, Any]] = json.loads(text)
            return answers
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    raise JobError(f"The process that loads jobs ended with code {child.returncode}.", said)


def list_jobs() -> list[dict[str, Any]]:
    """Name, summary, defaults and params schema of every built-in job, told by a child process."""
    return [answer for answer in _ask_child(None) if "error" not in answer]


def _description(job: str, answer: dict[str, Any]) -> JobDescription:
    match answer.get("error"):
        case "job":
            raise SpecError("job", answer["message"].removeprefix("job "))
        case "params":
            raise SpecError(f"params.{answer['field']}", answer["message"])
        case "data":
            raise UsageError(f"data: {answer['message']}")
        case "user":
            raise JobError(f"Loading job {job!r} failed: {answer['message']}", answer["traceback"])
    return JobDescription(**answer)
