"""`regatta runs` cuts no name that another command is to be given, however narrow the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.cli.tables import print_listed

pytestmark = pytest.mark.unit

NAME = "runs/digits-20261128-222606-ab12"
ROWS = [
    ("DATE", "RUN", "JOB", "STATUS", "METRIC"),
    ("2026-11-28 22:26:06", NAME, "digits", "succeeded", "val_accuracy 0.9532"),
    ("2026-11-28 22:30:00", "runs/b", "", "unreadable", "unreadable: no [b]spec[/b]"),
]


def printed(width: int, *, terminal: bool = True) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_listed(ROWS, 1, screen)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_narrow_terminal_has_two_lines_for_each() -> None:
    assert printed(80) == [
        NAME,
        "  2026-11-28 22:26:06  digits  succeeded  val_accuracy 0.9532",
        "runs/b",
        "  2026-11-28 22:30:00  unreadable  unreadable: no [b]spec[/b]",
    ]


@pytest.mark.parametrize(("width", "terminal"), [(140, True), (80, False)])
def test_elsewhere_it_is_a_table(width: int, terminal: bool) -> None:
    head, first, _ = printed(width, terminal=terminal)
    assert head.split() == ["DATE", "RUN", "JOB", "STATUS", "METRIC"]
    assert first.split() == ["2026-11-28", "22:26:06", NAME, "digits", "succeeded", "val_accuracy", "0.9532"]
