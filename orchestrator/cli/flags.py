"""Turns the fields of a spec into command-line flags, and a command's arguments back into fields.

A field with a `Flag` in its metadata is a flag of every command that takes a spec: its docstring is the help text, its
default is shown, its group is the heading. Only `mode`, `seeds` and what a comparison adds are treated by name.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.cli.values import nested, parse_seeds, parse_settings
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.prices import parse_prices
from orchestrator.spec.run import RunSpec
from workers.modes.names import split
from workers.modes.registry import examples
from workers.settings import Flag

Job = Annotated[
    str, typer.Argument(metavar="JOB", help="A built-in job, script.py, spec.yaml, path/file.py:Class or module:Class.")
]
Modes = Annotated[
    str | None,
    typer.Option(help="Modes to compare, the baseline first. Default: single,sync,async.", rich_help_panel="Training"),
]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="FIELD=A,B",
        help="Compare values of a field, or of params.x; may be repeated.",
        rich_help_panel="Training",
    ),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        metavar="FILE",
        help="Set what is measured against this file of `regatta advise`, and print the error.",
        rich_help_panel="Output",
    ),
]
Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="[-- ARG ...]", help="Arguments of a script.", show_default=False)
]
Fit = Annotated[
    int | None,
    typer.Option(
        "--fit",
        metavar="N",
        help="Of a script's calls of fit, train this one. Default: the last.",
        show_default=False,
        rich_help_panel="Training",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; text goes to stderr.", rich_help_panel="Output")
]
_ORDER = ("training", "data", "cluster", "faults", "output")


def with_spec_flags(
    command: Callable[..., None],
    kind: type[RunSpec],
    *,
    comparison: bool = False,
    run: bool = True,
    without: Sequence[str] = (),
    only: Sequence[str] | None = None,
    default: str = "",
) -> Callable[..., None]:
    """Give `command` the flags of a spec in place of its `**given`, in the signature that Typer reads.

    `comparison` adds the flags of a comparison, and lists for fields that may vary. `run` keeps `--mode`, which single
    runs have. `without` and `only` select fields; `default` replaces the defaults that the help shows.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    skipped = {*without, *(() if run else ("mode",)), *(parameter.name for parameter in own)}
    flags = [
        flag
        for flag in spec_parameters(kind, comparison=comparison, default=default)
        if flag.name not in skipped and (only is None or flag.name in only)
    ]
    parameters = [*own, *(_for_scripts() if only is None else ()), *flags]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _for_scripts() -> list[inspect.Parameter]:
    """Parameters that become params of a script."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(n, kind, default=None, annotation=a) for n, a in (("args", Arguments), ("fit", Fit))]


def spec_parameters(kind: type[RunSpec], *, comparison: bool, default: str = "") -> list[inspect.Parameter]:
    """Keyword parameters for the fields that have a flag, ordered by group."""
    fields = list(_flagged(kind))
    if comparison:
        fields = [*_flagged(CompareSpec), *fields]
    fields.sort(key=lambda entry: _ORDER.index(entry[2].group))
    return [
        _parameter(name, field, flag, lists=comparison and flag.varies, default=default) for name, field, flag in fields
    ]


def to_fields(given: Mapping[str, Any], kind: type[RunSpec] = RunSpec) -> dict[str, Any]:
    """Convert a command's arguments into fields of the spec; omitted arguments are None in `given`."""
    fields: dict[str, Any] = {}
    vary = {name: text.split(",") for name, text in parse_settings(given.get("vary") or (), "--vary").items()}
    for name, _, flag in (*_flagged(kind), *_flagged(CompareSpec)):
        value = given.get(name)
        if value is None or value == []:
            continue
        if flag.varies and isinstance(value, str):
            values = value.split(",")
            if len(values) > 1:
                vary[name] = values
            else:
                fields[name] = values[0]
        else:
            fields[name] = _parsed(name, value, flag)
    script = {name: given[name] for name in ("args", "fit") if given.get(name)}
    if script:
        fields["params"] = {**fields.get("params", {}), **script}
    if given.get("modes") is not None:
        fields["modes"] = tuple(split(given["modes"]))
    return fields | ({"vary": vary} if vary else {})


def _flagged(kind: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Flag]]:
    for name, field in kind.model_fields.items():
        for flag in (part for part in field.metadata if isinstance(part, Flag)):
            yield name, field, flag


def _parameter(name: str, field: FieldInfo, flag: Flag, *, lists: bool, default: str) -> inspect.Parameter:
    base, choices = _base(field.annotation)
    spelled = _spelled(name, flag)
    metavar = flag.metavar or ("|".join(examples()) if name == "mode" else "|".join(choices) or None)
    described = " ".join((field.description or "").split())
    lists_too = " A list, such as 1,2,4, compares." if lists else ""
    option = typer.Option(
        f"{spelled}/--no-{spelled[2:]}" if base is bool else spelled,
        help=f"{described}{lists_too} Default: {default or _shown(field, flag)}.",
        metavar="N|LIST" if lists else metavar,
        rich_help_panel=flag.group.capitalize(),
        show_default=False,
    )
    repeated = flag.style in ("pairs", "nested pairs") or (flag.style == "list" and name != "seeds")
    value_type: Any = list[str] if repeated else base if base in (bool, int, float) and not lists else str
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[value_type | None, option]
    )


def _spelled(name: str, flag: Flag) -> str:
    return flag.name or f"--{name.replace('_', '-')}"


def _shown(field: FieldInfo, flag: Flag) -> str:
    """The default as the help shows it."""
    if flag.default:
        return flag.default
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, int | float):
        return f"{default:g}"
    return str(default or "none")


def _base(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The plain type of a field, without None and limits, and its choices if it is a Literal."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _base(typing.get_args(annotation)[0])
    if origin is Literal:
        return str, typing.get_args(annotation)
    if origin in (UnionType, typing.Union):
        (inner,) = (part for part in typing.get_args(annotation) if part is not NoneType)
        return _base(inner)
    return annotation, ()


def _parsed(name: str, value: Any, flag: Flag) -> Any:
    match flag.style:
        case "pairs":
            return parse_settings(value, _spelled(name, flag))
        case "nested pairs":
            return nested(parse_settings(value, _spelled(name, flag)), _spelled(name, flag))
        case "prices":
            return parse_prices(value)
        case "list":
            return parse_seeds(value) if name == "seeds" else tuple(value)
    return value
