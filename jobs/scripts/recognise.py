"""Tells scripts from files with jobs by looking at their syntax, before anything is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPT = "__main__"
"""The name, in place of a class, by which a reference asks for the script: `train.py:__main__`."""
_MOST_MODULES = 100


@dataclass(frozen=True)
class Recognised:
    """What a file is, by its syntax."""

    jobs: tuple[str, ...]
    """Names of classes that look like jobs."""
    fits: tuple[str, ...]
    """Where `fit` is called outside of them, as `train.py:30`; also in modules beside the file that it imports."""
    own_loop: str | None
    """A training loop without `fit`, as `GradientTape in train.py:30`."""

    @property
    def is_script(self) -> bool:
        return bool(self.fits) and not self.jobs


def recognise(path: Path) -> Recognised:
    """Read the file and the modules beside it that it imports; raises SyntaxError if the file is not Python."""
    files = files_of(path)
    jobs = tuple(node.name for node in ast.walk(files[path]) if isinstance(node, ast.ClassDef) and _is_job(node))
    calls = [(file, node) for file, tree in files.items() for node in _calls(tree)]
    fits = tuple(f"{file.name}:{node.lineno}" for file, node in calls if _method(node) == "fit")
    loops = [f"{what} in {file.name}:{node.lineno}" for file, node in calls if (what := _loop(node))]
    return Recognised(jobs, fits, loops[0] if loops else None)


def names_cluster(path: Path) -> bool:
    """Whether the file, or a module beside it, reads or sets TF_CONFIG."""
    nodes = (node for tree in files_of(path).values() for node in ast.walk(tree))
    return any(isinstance(node, ast.Constant) and node.value == "TF_CONFIG" for node in nodes)


def files_of(path: Path) -> dict[Path, ast.AST]:
    """The syntax of the file, which comes first, and of the modules beside it that it imports."""
    first = ast.parse(path.read_bytes(), str(path))
    return {path: first, **dict(_beside(path.parent, first, {path}))}


def _is_job(node: ast.ClassDef) -> bool:
    names = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
    return any(name.endswith("Job") for name in names)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """All calls below `node`, except those in classes that look like jobs, in the order of the source."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and _is_job(child):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls(child)


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _loop(call: ast.Call) -> str:
    name = _method(call) or getattr(call.func, "id", "")
    if name == "run" and isinstance(call.func, ast.Attribute):
        owner = call.func.value
        return "strategy.run" if "strategy" in getattr(owner, "id", getattr(owner, "attr", "")).lower() else ""
    return name if name in ("GradientTape", "train_on_batch") else ""


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield from ([base] if base else [])
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)


def _beside(folder: Path, tree: ast.AST, seen: set[Path]) -> Iterator[tuple[Path, ast.AST]]:
    """The modules in `folder` that `tree` imports, and those that they import."""
    for name in _imported(tree):
        module = folder.joinpath(*name.split("."))
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if path in seen or len(seen) > _MOST_MODULES or not path.is_file():
                continue
            seen.add(path)
            try:
                inner = ast.parse(path.read_bytes(), str(path))
            except (SyntaxError, ValueError, OSError):
                continue  # importing it will say what is wrong
            yield path, inner
            yield from _beside(folder, inner, seen)
