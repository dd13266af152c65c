"""From the words a user typed to a job class and its validated params.

This runs user code (a job file is imported), so the driver calls it in a child process only.
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
from jobs.staged import here, job_file, users_folder


class JobNotFound(ValueError):  # noqa: N818 - reads as what happened
    """No job class where the target points; the message says what was tried and what there is."""


class ParamsError(ValueError):
    """A param that the job does not take, or a value that it does not allow."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        """The param's name, dotted where it is inside another (`layers.0`)."""
        self.reason = reason
        """The value, and what would be allowed."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def load_job_class(target: str, directory: str) -> type[Job]:
    """The class that `target` names: a built-in job, `path/file.py[:Class]` or `module:Class`.

    Paths are relative to `directory`, which is also where modules are looked for after the installed ones: a
    folder of the user's named `jobs` or `workers` cannot shadow ours.

    Raises:
        JobNotFound: there is no such file, module, class or built-in job. Whatever the user's own file raises
            while it is imported passes through unchanged, with the user's path in the traceback.
    """
    if target in CATALOG:
        module_name, _, class_name = CATALOG[target].target.partition(":")
        return _job_class(importlib.import_module(module_name), class_name, where=module_name)
    folder = users_folder(target, directory)
    if in_file := job_file(target):
        written = Path(directory, in_file[0])
        path = here(folder) / written.name
        if not path.is_file():
            raise JobNotFound(f"job {target!r}: there is no file {written}{_nearest_file(written)}")
        return _job_class(_module_from_file(path.resolve()), in_file[1], where=str(written))
    module_name, colon, class_name = target.partition(":")
    if colon and all(part.isidentifier() for part in module_name.split(".")):
        return _job_class(_module_by_name(module_name, here(folder)), class_name, where=module_name)
    raise JobNotFound(
        f"job {target!r} is not a built-in job{_nearest(target, CATALOG)}. "
        f"Built-in jobs: {_listed(CATALOG)}. A job of your own is path/file.py:Class or module:Class"
    )


def validate_params(job_class: type[Job], params: Mapping[str, Any]) -> BaseModel:
    """`params` as an instance of the job's `Params`; strings become numbers, booleans, lists as it declares.

    Unknown keys are refused even where `Params` does not forbid them, unless it says `extra="allow"`: a
    misspelt `--set` must not be ignored.

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
            if key not in known:
                why = f"{job} has no such param{_nearest(key, known)}. It takes: {_listed(known)}"
                raise ParamsError(key, why)
    try:
        return model.model_validate(dict(params))
    except ValidationError as first:
        try:
            return model.model_validate(_reread(params, first))
        except ValidationError:
            raise _params_error(first) from None


def _job_class(module: ModuleType, name: str, *, where: str) -> type[Job]:
    """The job class called `name` in `module`; without a name, the only one it defines."""
    here = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Job) and value.__module__ == module.__name__
    }
    if not here and not name:
        raise JobNotFound(f"{where} defines no subclass of jobs.api.Job")
    if not name:
        if len(here) > 1:
            example = f"{where}:{next(iter(here))}"
            raise JobNotFound(f"{where} defines several jobs ({_listed(here)}): say which, as in {example}")
        return next(iter(here.values()))
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Job):
        return found
    wrong = f"has no class {name!r}" if found is None else f"{name!r} is not a subclass of jobs.api.Job"
    raise JobNotFound(f"{where}: {wrong}{_nearest(name, here)}. Jobs in it: {_listed(here)}")


def _module_from_file(path: Path) -> ModuleType:
    """Import one file; the files beside it can be imported by it, as when Python runs it as a script."""
    name = "regatta_job_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise JobNotFound(f"{path} cannot be imported as Python")
    _look_in(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_by_name(name: str, directory: Path) -> ModuleType:
    _look_in(str(directory.resolve()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        places = f"the installed packages and {directory.resolve()}"
        raise JobNotFound(f"there is no module {error.name!r} in {places}") from None


def _look_in(directory: str) -> None:
    if directory not in sys.path:
        sys.path.append(directory)  # at the end: nothing of the user's can shadow an installed package


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


def _reread(params: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """`params` with each refused value read the other way a command line may have meant it."""
    again = dict(params)
    for problem in error.errors():
        key = problem["loc"][0] if problem["loc"] else None
        if not isinstance(key, str) or key not in again:
            continue
        value = again[key]
        if isinstance(value, str):  # --set layers=[64,32], --set seed=null
            try:
                again[key] = json.loads("null" if value.strip().lower() in {"", "none", "~"} else value)
            except ValueError:
                continue
        elif isinstance(value, int | float) and problem["type"] == "string_type":  # --set name=2024
            again[key] = str(value)
    return again


def _params_error(error: ValidationError) -> ParamsError:
    """What pydantic found wrong, in our words; a field that could be several things is named once."""
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
