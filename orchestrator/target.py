"""From the TARGET a user typed, a YAML file and flags, to a validated spec.

Precedence: flags over YAML over the job's own defaults. The job's code runs in a child process only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import JobError, SpecError, UsageError
from orchestrator.spec import CompareSpec, RunSpec, check_field_names, make_compare_spec, make_run_spec
from workers.process import python_environment

MAX_SPEC_BYTES = 1 << 20
_BUDGETS = ("samples", "epochs")


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
    return make_run_spec(_gather(target, flags))


def resolve_comparison(target: str, flags: Mapping[str, Any]) -> CompareSpec:
    return make_compare_spec(_gather(target, flags))


def _gather(target: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    given = _from_target(target)
    wanted = {key: value for key, value in flags.items() if value is not None}
    wanted["params"] = {**_params(given), **wanted.get("params", {})}
    check_field_names([key for key in given if key not in RunSpec.COMPARE_ONLY])
    values = _merge(given, wanted)
    job, directory = values.get("job"), values.get("directory", ".")
    if not isinstance(job, str):
        raise SpecError("job", f"{job!r} is not allowed: name a built-in job, path/file.py:Class or module:Class")
    description = describe_job(job, str(directory), values["params"])
    return _merge(dict(description.defaults), values | {"params": dict(description.params)})


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
        raise SpecError("params", f"{params!r} is not allowed: give a mapping of names to values")
    return params


def read_yaml(path: Path) -> dict[str, Any]:
    """A spec file's mapping; job paths in it are relative to it.

    Raises:
        UsageError: there is no such file, it is too large, or it is not plain YAML.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise UsageError(f"{path} is larger than {MAX_SPEC_BYTES} bytes; a spec is a page of text.")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no spec file {path}.") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply for a spec.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not plain YAML: {_yaml_problem(error)}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"{path} has to hold fields and their values, such as `job: digits`.")
    values.setdefault("directory", str(path.resolve().parent))
    return values


def _yaml_problem(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    tag = "; tags that name Python objects are not allowed in a spec" if "constructor" in str(problem) else ""
    return f"{problem}{where}{tag}"


def describe_job(job: str, directory: str, params: Mapping[str, Any]) -> JobDescription:
    """Load the job in a child process and validate its params there.

    Raises:
        SpecError: there is no such job, or a param is wrong.
        JobError: the user's module raised while it was imported.
    """
    answers = _ask_child({"target": job, "directory": directory, "params": dict(params)})
    return _description(job, answers[0])


def _ask_child(request: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The answers of `jobs.describe`: on one job, or on all built-in ones."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.describe", str(writer), json.dumps(request, default=str)],
        pass_fds=[writer],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=python_environment() | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    ) as child:
        os.close(writer)
        with os.fdopen(reader) as answer:
            text = answer.read()
        errors = child.stderr.read().decode(errors="replace") if child.stderr else ""
    if not text:
        raise JobError(f"The process that loads jobs ended with code {child.returncode}.", errors)
    answers: list[dict[str, Any]] = json.loads(text)
    return answers


def list_jobs() -> list[dict[str, Any]]:
    """Name, summary, defaults and params schema of every built-in job, told by a child process."""
    return [answer for answer in _ask_child(None) if "error" not in answer]


def _description(job: str, answer: dict[str, Any]) -> JobDescription:
    match answer.get("error"):
        case "job":
            raise SpecError("job", answer["message"].removeprefix("job "))
        case "params":
            raise SpecError(f"params.{answer['field']}", answer["message"])
        case "user":
            raise JobError(f"Loading job {job!r} failed: {answer['message']}", answer["traceback"])
    return JobDescription(**answer)
