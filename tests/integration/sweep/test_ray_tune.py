"""The file for Ray Tune in docs/sweeps.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLE = re.search(r"<!-- tune-file -->\n```python\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_ray_tune_with_runs_in_its_trials(tmp_path: Path) -> None:
    assert EXAMPLE is not None
    (tmp_path / "tuned.py").write_text(EXAMPLE[1])
    env = {"HOME": str(tmp_path), "RAY_worker_niceness": "0"}  # other tests may keep the cores busy
    done = subprocess.run(
        [sys.executable, "tuned.py"], cwd=tmp_path, env=env | _environment(), capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best: {'learning_rate': " in done.stdout
    assert done.stdout.count("TERMINATED") >= 2


def _environment() -> dict[str, str]:
    kept = {"PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "TMPDIR"}
    return {name: value for name, value in os.environ.items() if name in kept}
