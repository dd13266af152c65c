"""The table "What works in which mode" of docs/modes.md, as data."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from tests.marked import slow
from workers.modes.registry import MODES

PAGE = Path(__file__).parents[1] / "docs" / "modes.md"
CELLS = ("yes", "refused", "-")


def features() -> dict[str, dict[str, str]]:
    """Each row by its first cell: what works, by family."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in PAGE.read_text().partition("## What works in which mode")[2].splitlines()
        if line.startswith("|")
    ]
    head, _, *body = rows
    families = [name.strip("`").partition(":")[0] for name in head[1:]]
    return {row[0]: dict(zip(families, row[1:], strict=True)) for row in body}


def cells(rows: Collection[str], fast: Collection[tuple[str, str]] | None = None) -> list[Any]:
    """Parameters (feature, mode, cell) of these rows; slow ones but for `fast`, if given."""
    found = []
    for feature in rows:
        for family, cell in features()[feature].items():
            values = (feature, MODES[family].form.shortest(family), cell)
            found.append(values if fast is None or (feature, family) in fast else slow(*values))
    return found


def check_table(tried: Collection[str]) -> None:
    """Check that the table has a column for every family, only known cells, and no row that is not in `tried`."""
    table = features()
    assert set(table) == set(tried)
    for row in table.values():
        assert list(row) == list(MODES)
        assert set(row.values()) <= set(CELLS)


def refused(cell: str, *errors: type[Exception]) -> Any:
    """A context that expects what a cell says."""
    import contextlib

    return pytest.raises(errors) if cell == "refused" else contextlib.nullcontext()
