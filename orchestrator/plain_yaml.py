"""YAML without its traps: text keys named once, and neither tags nor aliases.

A repeated key silently loses the first value, and a few aliases of aliases expand to gigabytes when printed.
"""

from __future__ import annotations

from typing import Any

import yaml

_TEXT = "tag:yaml.org,2002:str"


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"*{event.anchor}: aliases are not allowed{_place(event.start_mark)}")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise ValueError(f"{event.tag}: tags are not allowed{_place(event.start_mark)}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != _TEXT:
                name = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise ValueError(f"{name} as a key: keys are text, or in quotes{_place(key.start_mark)}")
            if key.value in seen:
                raise ValueError(f"{key.value!r} is given twice{_place(key.start_mark)}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """The one document in `text`, as plain Python values.

    Raises:
        ValueError: it is no such document; the message says why, and where.
    """
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader, made stricter
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        raise ValueError(f"{' '.join(problem.split())}{_place(getattr(error, 'problem_mark', None))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _place(mark: Any) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
