"""Resolves a job reference to a job class, and validates the job's params.

This imports the user's code, so the driver only calls it in a child process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from jobs.api import Job
from jobs.catalog import CATALOG
from jobs.scripts.job import script_job
from jobs.scripts.recognise import SCRIPT, Recognised, recognise
from jobs.staged import job_file, on_this_host, users_folder


class JobNotFound(ValueError):  # noqa: N818 - the name says what happened
    """The job reference names no job class; the message says what was tried and what exists."""


class ParamsError(ValueError):
    """A param is unknown to the job, or its value is not allowed."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        """The param's name, dotted if nested (`layers.0`)."""
        self.reason = reason
        """The value, and what is allowed."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def load_job_class(job: str, directory: str) -> type[Job]:
    """Import the class that the job reference names: a built-in job, `path/file.py[:Class]` or `module:Class`.

    Paths are relative to `directory`, where modules are searched as well, after the installed ones: a user's folder
    named `jobs` or `workers` cannot shadow ours.

    Raises:
        JobNotFound: there is no such file, module, class or built-in job. Exceptions that the user's own file raises
            while it is imported pass through unchanged, with the user's path in the traceback.
    """
    if job in CATALOG:
        module_name, _, class_name = CATALOG[job].class_path.partition(":")
        return _job_class(importlib.import_module(module_name), class_name, where=module_name)
    folder = users_folder(job, directory)
    if in_file := job_file(job):
        original = Path(directory, in_file[0])
        path = on_this_host(folder) / original.name
        if not path.is_file():
            raise JobNotFound(f"job {job!r}: there is no file {original}{_nearest_file(original)}")
        found = _recognised(path)
        if in_file[1] == SCRIPT or (found.is_script and not in_file[1]):
            return script_job(path.resolve(), in_file[0])
        if found.own_loop and not found.jobs:
            raise JobNotFound(_own_loop(original, found.own_loop))
        return _job_class(_module_from_file(path.resolve()), in_file[1], where=str(original))
    module_name, colon, class_name = job.partition(":")
    if colon and all(part.isidentifier() for part in module_name.split(".")):
        return _job_class(_module_by_name(module_name, on_this_host(folder)), class_name, where=module_name)
    raise JobNotFound(
        f"job {job!r} is not a built-in job{_nearest(job, CATALOG)}. "
        f"Built-in jobs: {_listed(CATALOG)}. For your own job give path/file.py:Class or module:Class"
    )


def is_script(job: str, directory: str) -> bool:
    """Whether the job reference names a script; False as well if it names nothing that can be read."""
    in_file = job_file(job)
    if in_file is None or in_file[1]:
        return in_file is not None and in_file[1] == SCRIPT
    try:
        return recognise(on_this_host(users_folder(job, directory)) / Path(in_file[0]).name).is_script
    except (OSError, SyntaxError, ValueError):
        return False


def validate_params(job_class: type[Job], params: Mapping[str, Any]) -> BaseModel:
    """Validate `params` as the job's `Params`; strings become numbers, booleans and lists as its fields declare.

    Unknown keys are rejected even if `Params` does not forbid them, unless it says `extra="allow"`: a misspelt `--set`
    must not be ignored.

    Raises:
        ParamsError: names the field, the value and what is allowed.
    """
    model = job_class.Params
    job = job_class.__name__
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ParamsError("Params", f"{job}.Params has to be a pydantic BaseModel, not {model!r}")
    known = _param_names(model)
    if model.model_config.get("extra") != "allow":
        for key in params:
            if key == "args" and key not in known:
                raise ParamsError(key, f"arguments {params[key]!r} are for scripts, and {job} is a job: use --set")
            if key not in known:
                why = f"{job} has no such param{_nearest(key, known)}. It takes: {_listed(known)}"
                raise ParamsError(key, why)
    try:
        return model.model_validate(dict(params))
    except ValidationError as first:
        try:
            return model.model_validate(_reinterpret(params, first))
        except ValidationError:
            raise _params_error(first) from None


def _recognised(path: Path) -> Recognised:
    try:
        return recognise(path)
    except (SyntaxError, ValueError):
        return Recognised((), (), None)  # importing it will say where


def _own_loop(path: Path, loop: str) -> str:
    return (
        f"{path} defines no subclass of jobs.api.Job and calls no fit, but has a training loop of its own ({loop}). "
        "Regatta distributes what `model.fit` is given: put what a step does into the model's train_step, and call "
        "fit; or write a job (`regatta init`)"
    )


def _job_class(module: ModuleType, name: str, *, where: str) -> type[Job]:
    """The job class called `name` in `module`; without a name, the only one it defines."""
    defined = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Job) and value.__module__ == module.__name__
    }
    if not defined and not name:
        raise JobNotFound(f"{where} defines no subclass of jobs.api.Job, and calls no fit of a model")
    if not name:
        if len(defined) > 1:
            example = f"{where}:{next(iter(defined))}"
            raise JobNotFound(f"{where} defines several jobs ({_listed(defined)}): name one, as in {example}")
        return next(iter(defined.values()))
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Job):
        return found
    problem = f"has no class {name!r}" if found is None else f"{name!r} is not a subclass of jobs.api.Job"
    raise JobNotFound(f"{where}: {problem}{_nearest(name, defined)}. Jobs in it: {_listed(defined)}")


def _module_from_file(path: Path) -> ModuleType:
    """Import a file, which can import the files beside it, as when Python runs it as a script."""
    name = "regatta_job_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise JobNotFound(f"{path} cannot be imported as Python")
    _add_to_path(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look up their module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_by_name(name: str, directory: Path) -> ModuleType:
    _add_to_path(str(directory.resolve()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but something it imports does not
        searched = f"the installed packages and {directory.resolve()}"
        raise JobNotFound(f"there is no module {error.name!r} in {searched}") from None


def _add_to_path(directory: str) -> None:
    if directory not in sys.path:
        sys.path.append(directory)  # at the end, so that the user's code cannot shadow an installed package


def _nearest_file(path: Path) -> str:
    beside = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
    return _nearest(path.name, beside)


def _nearest(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word, list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _param_names(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        aliases = [alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str)]
        names += [name, *aliases]
    return list(dict.fromkeys(names))


def _reinterpret(params: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """Convert each rejected value in `params` to the other type that the command line may have meant."""
    converted = dict(params)
    for problem in error.errors():
        key = problem["loc"][0] if problem["loc"] else None
        if not isinstance(key, str) or key not in converted:
            continue
        value = converted[key]
        if isinstance(value, str):  # --set layers=[64,32], --set seed=null
            try:
                converted[key] = json.loads("null" if value.strip().lower() in {"", "none", "~"} else value)
            except ValueError:
                continue
        elif isinstance(value, int | float) and problem["type"] == "string_type":  # --set name=2024
            converted[key] = str(value)
    return converted


def _params_error(error: ValidationError) -> ParamsError:
    """Turn pydantic's errors into one ParamsError; a field that allows several types is listed once."""
    reasons: dict[str, str] = {}
    for problem in error.errors():
        name, *inside = problem["loc"] or ("Params",)
        field = ".".join(map(str, [name, *(part for part in inside if isinstance(part, int))]))
        allowed = problem["msg"].removeprefix("Value error, ")
        missing = problem["type"] == "missing"
        why = "is missing" if missing else f"{problem['input']!r} is not allowed: {allowed}"
        reasons[field] = f"{reasons[field]}, or: {allowed}" if field in reasons else why
    first, *others = reasons.items()
    return ParamsError(first[0], "; ".join([first[1], *(f"{field}: {why}" for field, why in others)]))
