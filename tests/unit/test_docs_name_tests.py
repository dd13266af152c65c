"""The tests that the docs name beside what they promise: each exists, and each promise names one, in prose too."""

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
PROMISE_NOTHING = {
    "security.md": (
        "What Regatta guarantees, and what it cannot.",
        "Nothing between hosts is encrypted",
    ),
    "survive.md": ("This page describes what happens", "A *leg* is one uninterrupted", "`python -m benchmarks."),
}
"""Pages in which every table has such a column, and every paragraph and item of a list names a test; and the beginnings
of paragraphs that need none."""
SECTIONS_WITHOUT_PROMISES = ("Not guaranteed", "Measurements", "The chaos suite")


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


def sections(page: Path) -> Iterator[tuple[str, str]]:
    """Title and text of every section, without its code."""
    title = ""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE):
        title, _, rest = part.partition("\n")
        yield title, rest


def paragraphs(text: str) -> Iterator[str]:
    """Each paragraph and each item of a list, as one line."""
    for block in re.split(r"\n\s*\n|\n(?=- )", text):
        if block.strip() and not block.lstrip().startswith("|"):
            yield " ".join(block.split())


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


@pytest.mark.parametrize("name", PROMISE_NOTHING)
def test_each_paragraph_that_promises_has_a_test(name: str) -> None:
    found = [
        paragraph
        for title, text in sections(ROOT / "docs" / name)
        if title not in SECTIONS_WITHOUT_PROMISES
        for paragraph in paragraphs(text)
    ]
    assert len(found) > 15
    exempt = {start: [one for one in found if one.startswith(start)] for start in PROMISE_NOTHING[name]}
    assert all(len(ones) == 1 for ones in exempt.values()), "a paragraph that is named here is there once"
    assert not [one for one in found if not NAMED.search(one) and not one.startswith(PROMISE_NOTHING[name])]


@pytest.mark.parametrize("name", PROMISE_NOTHING)
def test_each_table_of_promises_has_a_column_of_tests(name: str) -> None:
    page = ROOT / "docs" / name
    heads = {tuple(head) for head, _ in tables(page)}
    measured = {("mode", "fault", "found after", "trains again after", "steps repeated", "longest gap")}
    assert not [head for head in heads - measured if head[-1] != "test"]


def test_each_feature_of_keras_names_the_function_that_tries_it() -> None:
    """Its cells say exact, refused, error, or how it differs; `-` where the feature does not exist."""
    rows = [row for head, row in tables(ROOT / "docs" / "exactness.md") if head[0] == "feature"]
    assert len(rows) >= 12
    for feature, *modes, tested in rows:
        assert len(modes) == 4, feature
        assert all(re.match(r"(exact|different: .+|refused|error|-)(\[\^\d\])?$", cell) for cell in modes), feature
        assert all(function for _, function in NAMED.findall(tested)), feature
