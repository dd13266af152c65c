"""Tells, by syntax and from where a script is, whether it may still come to a `fit`.

So a script with several calls of `fit` can be followed up to the last one, and nothing that comes after is run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_RUN_ONCE = ("run", "Fire")
"""Functions that call a script's main function: `app.run(main)`, `fire.Fire(main)`."""
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


class LastFit:
    """Follows a script, whose files `files` holds by path."""

    def __init__(self, files: Mapping[Path, ast.AST]) -> None:
        self._files = {str(path): tree for path, tree in files.items()}
        self._names = _names_that_fit(list(files.values()))

    def may_fit_again(self, frame: FrameType | None, *, begins: bool = False) -> bool:
        """Whether `fit` may be called after the call that `frame` is in. `begins`: its line has not been run yet."""
        while frame is not None:
            tree = self._files.get(frame.f_code.co_filename)
            if tree is not None:
                name = frame.f_code.co_name  # a lambda or comprehension is within a statement of the next frame
                if (name == "<module>" or not name.startswith("<")) and self._after(
                    _body(tree, frame.f_lineno), frame.f_lineno, begins
                ):
                    return True
                begins = False
            frame = frame.f_back
        return False

    def follow(self, stop: Callable[[], Exception | BaseException]) -> None:
        """From here on, raise `stop()` in the script before a line from which on it cannot come to `fit`."""

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code.co_filename not in self._files:
                return None
            if event == "line" and not self.may_fit_again(frame, begins=True):
                sys.settrace(None)
                raise stop()
            return trace

        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code.co_filename in self._files:
                frame.f_trace = trace
            frame = frame.f_back
        sys.settrace(trace)

    def _after(self, block: Sequence[ast.AST], line: int, begins: bool) -> bool:
        for number, statement in enumerate(block):
            if _end(statement) < line:
                continue
            if _start(statement) > line:
                return any(map(self._fits, block[number:]))
            return self._within(statement, line, begins) or any(map(self._fits, block[number + 1 :]))
        return False

    def _within(self, statement: ast.AST, line: int, begins: bool) -> bool:
        if isinstance(statement, (ast.For, ast.AsyncFor, ast.While)):
            return self._fits(statement)
        blocks = [getattr(statement, name, []) for name in _BLOCKS]
        if isinstance(statement, ast.Try):
            later = [*statement.handlers, *statement.orelse, *statement.finalbody]
            if line < _start(later[0]) and any(map(self._fits, later)):
                return True
        for block in blocks:
            if block and _start(block[0]) <= line <= _end(block[-1]):
                return self._after(block, line, begins)
        if any(blocks) and not isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            return self._fits(statement)  # its condition, before its blocks
        found = list(self._found(statement))
        if begins or len(found) > 1 or _as_value(found, statement):
            return bool(found)
        return any(self._fits(node) for node in ast.walk(statement) if isinstance(node, _COMPREHENSIONS))

    def _fits(self, node: ast.AST) -> bool:
        return next(self._found(node), None) is not None

    def _found(self, node: ast.AST) -> Iterator[ast.AST]:
        """Calls of `fit` and uses of what calls it, in what runs when `node` does."""
        return _uses(node, self._names)


def _uses(node: ast.AST, names: set[str]) -> Iterator[ast.AST]:
    if isinstance(node, _FUNCTIONS):
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fit":
        yield node
    if isinstance(node, ast.Name) and node.id in names:
        yield node
    if isinstance(node, ast.Attribute) and node.attr in names:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, names)


def _as_value(found: Sequence[ast.AST], statement: ast.AST) -> bool:
    """Whether one of the nodes `found` is handed to something that may call it several times, as by `map`."""
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    called = {id(call.func) for call in calls} | {id(call) for call in calls}
    for call in calls:
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in _RUN_ONCE:
            called |= {id(argument) for argument in call.args}
    return any(id(node) not in called for node in found)


def _names_that_fit(trees: Sequence[ast.AST]) -> set[str]:
    """Names of functions that call `fit`, or use one that does; of a class, if its `__init__` or `__call__` does."""
    defined: list[tuple[str, ast.AST]] = []
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                defined.append((node.name, node))
            if isinstance(node, ast.ClassDef):
                own = [one for one in node.body if isinstance(one, _FUNCTIONS)]
                defined += [(node.name, one) for one in own if one.name in ("__init__", "__call__")]
    names: set[str] = set()
    while True:
        more = {name for name, node in defined if any(next(_uses(one, names), None) for one in node.body)}  # type: ignore[attr-defined]
        if more <= names:
            return names - {"__init__", "__call__"}
        names |= more


def _body(tree: ast.AST, line: int) -> Sequence[ast.AST]:
    """The statements of the innermost function around `line`, or of the module."""
    around = [n for n in ast.walk(tree) if isinstance(n, _FUNCTIONS) and n.body[0].lineno <= line <= _end(n)]
    found: Any = max(around, key=lambda node: node.lineno, default=tree)
    return found.body  # type: ignore[no-any-return]


def _start(node: Any) -> int:
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    return int(min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))]))


def _end(node: Any) -> int:
    return _end(node.body[-1]) if isinstance(node, ast.match_case) else int(node.end_lineno or node.lineno)
