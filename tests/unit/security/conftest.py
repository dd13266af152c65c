"""Runs the command line in this process, to check how it handles untrusted input."""

from __future__ import annotations

import signal
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from orchestrator.cli import main
from orchestrator.spec import resolve
from orchestrator.spec.resolve import JobDescription


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


def unseen(text: str) -> set[str]:
    """Characters of `text` that a terminal would obey, or that hide or reverse text."""
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def assert_refused(said: Said) -> None:
    """Check for exit code 2 and a message of one paragraph, without characters that a terminal would obey."""
    assert said.code == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert not unseen(said.err)
    if not said.err.startswith("Usage: "):
        assert said.err.startswith("regatta: ")
        assert said.err.count("\n") == 1
        assert 20 < len(said.err) < 1500


def assert_harmless(said: Said) -> None:
    """Check for a clear refusal, or output with printable characters only."""
    if said.code == 0:
        assert not unseen(said.out + said.err)
        assert "Traceback" not in said.err
    else:
        assert_refused(said)


@pytest.fixture(scope="session")
def parsed_commands() -> object:
    """The command line's parser, which takes longer to build than any command to refuse its arguments."""
    return typer.main.get_command(main.build())


@pytest.fixture
def regatta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parsed_commands: object
) -> Command:
    """`regatta` in an empty folder. Every job counts as found, and none is loaded in a child process."""
    found = JobDescription("digits", "", {}, {}, {})
    monkeypatch.setattr(resolve, "describe_job", lambda *_, **__: found)
    monkeypatch.setattr(main, "build", lambda: parsed_commands)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # keep pytest's own handlers

    def call(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["regatta", *map(str, arguments)])
        try:
            main.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call
