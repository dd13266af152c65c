"""The tests that the docs name beside what they promise: each exists, and each promise in a table has one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
NAMED = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)(?:::(\w+))?`")
TESTS = sorted(ROOT.glob("tests/**/test_*.py"))
PROMISING = ("security.md", "survive.md", "exactness.md", "trials.md")
"""Pages in which every table with a column of tests fills it in each row."""


def found(name: str) -> list[Path]:
    """The files of tests whose path ends with `name`."""
    return [path for path in TESTS if f"/{path.relative_to(ROOT)}".endswith(f"/{name}")]


def tables(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The head and each row of every table."""
    head: list[str] = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            head = []
        elif not head:
            head = cells
        elif not set(line) <= set("|-: "):
            yield head, cells


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_that_is_named_exists(page: Path) -> None:
    for name, function in NAMED.findall(page.read_text()):
        files = found(name)
        assert len(files) == 1, f"{page.name} names {name}, and there are {len(files)} such files"
        if function:
            defined = {node.name for node in ast.walk(ast.parse(files[0].read_text())) if hasattr(node, "name")}
            assert function in defined, f"{page.name} names {name}::{function}"


@pytest.mark.parametrize("name", PROMISING)
def test_each_promise_has_a_test(name: str) -> None:
    rows = [(head, row) for head, row in tables(ROOT / "docs" / name) if head[-1].lower() in ("test", "tested in")]
    assert len(rows) > 10
    missing = [row[0] for head, row in rows if len(row) != len(head) or not NAMED.search(row[-1])]
    assert not missing


def test_each_feature_of_keras_names_the_function_that_tries_it() -> None:
    """Its cells say exact, refused, or how it differs; `-` where the feature does not exist."""
    rows = [row for head, row in tables(ROOT / "docs" / "exactness.md") if head[0] == "feature"]
    assert len(rows) >= 12
    for feature, *modes, tested in rows:
        assert len(modes) == 4, feature
        assert all(modes), feature
        assert all(function for _, function in NAMED.findall(tested)), feature
