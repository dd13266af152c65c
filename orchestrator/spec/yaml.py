"""A strict subset of YAML: keys are unique text, tags and aliases are refused, nesting and numbers are limited.

In full YAML, a repeated key silently loses the first value, a few nested aliases expand to gigabytes, and an integer
such as 1:1:1:... takes seconds to parse and has too many digits to print.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UsageError
from workers import files

MAX_DEPTH = 40
_TEXT = "tag:yaml.org,2002:str"
_LONGEST_NUMBER = 400  # characters, enough for every number that a float can represent
_LONGEST_NAME = 60


class _PlainLoader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"*{_cut(str(event.anchor))}: aliases are not allowed{_position(event.start_mark)}")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise ValueError(f"{_cut(event.tag)}: tags are not allowed{_position(event.start_mark)}")
        if self.depth == MAX_DEPTH:
            raise ValueError(f"it is nested too deeply: the limit is {MAX_DEPTH}{_position(event.start_mark)}")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _LONGEST_NUMBER:
            raise ValueError(f"{_cut(node.value)} is too long for a number{_position(node.start_mark)}")
        return int(super().construct_yaml_int(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != _TEXT:
                name = repr(_cut(key.value)) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise ValueError(f"{name} as a key: keys must be text; quote it{_position(key.start_mark)}")
            if key.value in seen:
                raise ValueError(f"{_cut(key.value)!r} is given twice{_position(key.start_mark)}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def load(text: str) -> Any:
    """The only document in `text`, as plain Python values.

    Raises:
        ValueError: `text` is not a single document in this subset; the message says why, and where.
    """
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader, made stricter
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        problem = _cut(" ".join(problem.split()), 200)
        raise ValueError(f"{problem}{_position(getattr(error, 'problem_mark', None))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _cut(text: str, longest: int = _LONGEST_NAME) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _position(mark: Any) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


MAX_SPEC_BYTES = 1 << 18
"""Parsed within two seconds; the YAML of a comparison of fifty variants and a thousand seeds is a tenth of this."""


def read_mapping(path: Path, *, follow: bool = True) -> dict[str, Any]:
    """The mapping in a YAML file: a spec, or prices.

    `follow`: links are followed, which is right only for a file that the user named.

    Raises:
        UsageError: the file does not exist, is too large, or is not a mapping in plain YAML.
    """
    try:
        with files.open_regular(Path(os.path.realpath(path)) if follow else path) as file:
            data = file.read(MAX_SPEC_BYTES + 1)
        if len(data) > MAX_SPEC_BYTES:
            raise UsageError(f"{path} is larger than {MAX_SPEC_BYTES} bytes, the limit for a spec.")
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise UsageError(f"There is no spec file {path}.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    try:
        values = load(text)
    except ValueError as error:
        raise UsageError(f"{path} is not a spec in plain YAML: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} must contain fields and their values, such as `job: digits`.")
    return values
