"""Every `regatta` command in the blocks of README and docs still parses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from orchestrator.cli.main import build
from tests.conftest import ROOT

pytestmark = pytest.mark.unit

_BLOCK = re.compile(r"^```(?:sh|console|text|bash)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\s*(?:\$ |# )?(?:\.venv/bin/)?regatta (?!: )(.+)$")


def commands(page: Path) -> Iterator[str]:
    """The commands of a page, without comments, continued lines joined."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if (found := _COMMAND.match(line)) is not None:
                yield found[1]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOUND = [(page.name, command) for page in PAGES for command in commands(page)]


GROUP = typer.main.get_command(build())


def parse(arguments: list[str]) -> None:
    group: Any = GROUP
    context = group.make_context("regatta", list(arguments), resilient_parsing=False)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    command.make_context(name, rest, parent=context)


def test_there_are_some() -> None:
    assert len(FOUND) > 40


@pytest.mark.parametrize(("page", "command"), FOUND)
def test_it_parses(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")  # as docs/clusters.md has it
    words = shlex.split(command, comments=True)
    end = next((i for i, word in enumerate(words) if word in ("|", ">", "2>&1", "&&", "&", ";")), len(words))
    try:
        parse(words[:end])
    except typer.Exit as done:  # --help, --version
        assert done.exit_code == 0


def test_a_wrong_one_does_not() -> None:
    with pytest.raises(Exception, match="No such option: --sedes"):
        parse(["compare", "digits", "--sedes", "5"])
