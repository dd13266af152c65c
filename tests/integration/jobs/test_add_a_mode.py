"""Follows "Add a mode" in CONTRIBUTING.md literally: one file and one row, and `regatta run` trains in that mode."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import ROOT

MARKED = r"<!-- {} -->\n *```python\n(.*?)\n *```"
TABLE = "MODES: dict[str, ModeTraits] = {\n"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A copy of the packages, with the mode that CONTRIBUTING.md adds."""
    copy = tmp_path / "copy"
    for package in ("orchestrator", "workers", "jobs"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    instructions = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    file, row = (
        re.search(MARKED.format(marker), instructions, re.DOTALL)[1]  # type: ignore[index]
        for marker in ("mode-file: unfused", "mode-row")
    )
    (copy / "workers" / "modes" / "unfused.py").write_text(textwrap.dedent(file) + "\n", encoding="utf-8")
    registry = copy / "workers" / "modes" / "registry.py"
    rows = registry.read_text(encoding="utf-8")
    assert rows.count(TABLE) == 1
    registry.write_text(rows.replace(TABLE, TABLE + textwrap.indent(textwrap.dedent(row), "    ") + "\n"))
    return copy


def test_a_mode_is_one_file_and_one_row(packages: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["run", "digits", "--mode", "unfused", "--backend", "local", "--samples", "6400"]
    command += ["--target", "val_accuracy>=2", "--out", str(run)]
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert (result["mode"], result["status"], result["steps"]) == ("unfused", "succeeded", 100)
    with closing(sqlite3.connect(run / "metrics.db")) as database:
        calls, most = database.execute("SELECT COUNT(*), MAX(steps) FROM calls").fetchone()
    assert (calls, most) == (100, 1), "the mode's own class trained: one call per step"
