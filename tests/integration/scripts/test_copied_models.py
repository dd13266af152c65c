"""The second model of a task is a copy where that is known to be right, so that a script's data are read once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.scripts.copied import COPIED, NOT_COPIED


def test_a_copy_trains_as_its_model_or_there_is_none(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "tests.integration.scripts.copied", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("found ")]
    found = json.loads(line.removeprefix("found "))
    for name, one in zip(COPIED, found, strict=False):
        assert one == {"off": 0.0}, name
    for why, one in zip(NOT_COPIED, found[len(COPIED) :], strict=True):
        assert why in one.get("why", ""), one
