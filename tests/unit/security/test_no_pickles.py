"""No file of ours is a pickle, which would run code when it is read."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = sorted(path for package in ("orchestrator", "workers", "jobs") for path in (ROOT / package).rglob("*.py"))
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def allows_pickles(tree: ast.AST) -> bool:
    keywords = (word for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords)
    return any(
        word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        for word in keywords
    )


def test_nothing_reads_or_writes_pickles() -> None:
    assert SOURCES
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        assert not imported(tree) & MODULES, path
        assert not allows_pickles(tree), path
