"""Commands that take every flag of `run` and of `compare`, to do something else with the spec."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import flags as opt
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.spec.comparison import CompareSpec
    from orchestrator.spec.run import RunSpec

AsRun = Annotated[bool, typer.Option("--run", help="One run in one mode; so it is if --mode is given.")]
AsComparison = Annotated[bool, typer.Option("--compare", help="A comparison; so it is if no --mode is given.")]
_NOT_OF_THE_JOB = ("address", "out", "as_json", "quiet", "verbose")


def spec_of(given: Mapping[str, Any], as_run: bool, as_comparison: bool) -> tuple[str, RunSpec | CompareSpec]:
    """`run` or `compare`, and the validated spec."""
    from orchestrator.spec.resolve import resolve_comparison, resolve_run

    if as_run and as_comparison:
        raise UsageError("--run and --compare were given together: give one of them.")
    command = "run" if as_run or (given.get("mode") is not None and not as_comparison) else "compare"
    # Not the dashboard's: where the job will attach, from the inside.
    fields = opt.to_fields(given) | {"address": "auto"}
    resolve: Callable[..., RunSpec | CompareSpec] = resolve_run if command == "run" else resolve_comparison
    return command, resolve(given["target"], fields)


def with_flags_of(command: Callable[..., None], *others: Callable[..., None]) -> Callable[..., None]:
    """`command` with the flags of `others` in place of its `**given`, for typer to see."""
    flags: dict[str, inspect.Parameter] = {}
    for source in (command, *others):
        hints = typing.get_type_hints(source, include_extras=True)
        for name, parameter in inspect.signature(source).parameters.items():
            foreign = source is not command and name in _NOT_OF_THE_JOB
            if not foreign and parameter.kind is not parameter.VAR_KEYWORD:
                named = parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
                flags.setdefault(name, named)
    command.__signature__ = inspect.Signature(list(flags.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in flags.items()}
    return command


def base_of(spec: RunSpec | CompareSpec) -> RunSpec:
    """What all runs of it share."""
    from orchestrator.spec.comparison import CompareSpec

    return spec.run if isinstance(spec, CompareSpec) else spec


def name_of(command: str, spec: RunSpec | CompareSpec) -> str:
    """The run id that was given, or a new one."""
    from orchestrator.store.directory import new_id

    base = base_of(spec)
    return base.run_id or new_id(f"{Path(base.job.partition(':')[0]).stem}-{command}")


def spec_file(spec: RunSpec | CompareSpec, directory: str) -> str:
    """The spec as the text of a file for `regatta run` or `compare`, whose job lies in `directory`."""
    import yaml

    from orchestrator.spec.comparison import CompareSpec

    fields = base_of(spec).model_dump(mode="json", exclude_none=True, exclude={"address", "out", "run_id"})
    fields["directory"] = directory
    if isinstance(spec, CompareSpec):
        fields |= spec.model_dump(mode="json", exclude={"run"}, exclude_none=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
