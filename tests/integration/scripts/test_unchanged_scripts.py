"""Scripts that end in `fit` run unchanged, and give what plain Python gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts_under_test"


def printed(output: str, what: str) -> dict[str, Any]:
    """What a script has printed as `what {...}`, once."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{what} ")]
    found, _ = json.JSONDecoder().raw_decode(line.removeprefix(f"{what} "))
    return dict(found)


def plain(script: str, *arguments: str, cwd: Path) -> str:
    """What the script prints under plain Python."""
    ran = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return ran.stdout


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with the scripts under test."""
    return Path(shutil.copytree(SCRIPTS, tmp_path / "scripts"))


def test_two_workers_give_what_plain_python_gives(cli: Any, scripts: Path) -> None:
    """Arguments, a module beside it, relative paths, callbacks, and what comes after `fit`; all printed once."""
    alone = plain("images.py", "--epochs", "3", cwd=scripts)
    (scripts / "best.keras").unlink()
    ran = cli("run", "images.py", "--backend", "local", "--", "--epochs", "3", cwd=scripts, timeout=500)
    assert ran.returncode == 0, ran.stderr
    for what in ("history", "scores", "best"):
        for name, values in printed(alone, what).items():
            assert printed(ran.stdout, what)[name] == pytest.approx(values, rel=1e-5), (what, name)
    assert [line for line in ran.stdout.splitlines() if line.startswith("epoch 2")] == [
        "epoch 2 ['accuracy', 'loss', 'val_accuracy', 'val_loss']"
    ]
    assert (scripts / "best.keras").is_file()
