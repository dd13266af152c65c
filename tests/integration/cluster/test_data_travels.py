"""Data beside a script or a job travels to a cluster that does not have it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import regatta
from tests.integration.cluster.conftest import Shared
from tests.integration.scripts.test_unchanged_scripts import SCRIPTS

JOB = """
from pathlib import Path
import numpy as np
from jobs.digits import Digits


class Reads(Digits):
    def train_dataset(self, context):
        assert len(np.loadtxt("data.csv", delimiter=",")) == 32
        assert Path(__file__).with_name("tables").joinpath("labels.csv").is_file()
        return super().train_dataset(context)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mine = tmp_path / "mine"
    (mine / "tables").mkdir(parents=True)
    shutil.copy(SCRIPTS / "with_csv.py", mine / "train.py")
    (mine / "job.py").write_text(JOB)
    (mine / "data.csv").write_text("1,2\n" * 32)
    (mine / "tables" / "labels.csv").write_text("3\n" * 32)
    (mine / "unused.bin").touch()
    return mine


def gone(folder: Path) -> Callable[[], None]:
    """A function that takes the user's folder away, as on a cluster that never had it."""
    return lambda: shutil.move(folder, folder.with_name("elsewhere"))


def test_a_script_submitted_with_its_tables(shared: Shared, folder: Path) -> None:
    env = dict(shared.head.env) | {"RAY_API_SERVER_ADDRESS": shared.head.dashboard}
    chosen = ("--include", "*.csv", "--include", "tables")
    submitted = regatta("submit", "train.py", "--mode", "single", "--run-id", "tables", *chosen, cwd=folder, **env)
    assert submitted.returncode == 0, submitted.stderr
    assert "unused.bin (no git checkout here)" in submitted.stderr
    gone(folder)()
    followed = regatta("logs", "-f", "tables", cwd=folder.parent, **env)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "rows read: 32 32" in followed.stdout


@pytest.mark.slow
@pytest.mark.parametrize("target", ["train.py", "job.py:Reads"])
def test_what_git_tracks_travels_when_attached(shared: Shared, folder: Path, target: str) -> None:
    """From a copy of the folder that is another one on the cluster: its own files there differ."""
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "data.csv", "tables"], cwd=folder, check=True)
    arguments = ("--mode", "single", "--samples", "960", "--address", shared.head.gcs, "--out", "../out", "--json")
    done = regatta("run", target, *arguments, cwd=folder, **shared.head.env)
    assert done.returncode == 0, done.stderr
    assert "unused.bin (not tracked by git)" in done.stderr
    assert json.loads(done.stdout)["status"] == "succeeded"


@pytest.mark.slow
def test_without_its_tables_the_script_is_told_what_is_missing(shared: Shared, folder: Path) -> None:
    env = dict(shared.head.env) | {"RAY_API_SERVER_ADDRESS": shared.head.dashboard}
    assert regatta("submit", "train.py", "--mode", "single", "--run-id", "bare", cwd=folder, **env).returncode == 0
    gone(folder)()
    followed = regatta("logs", "-f", "bare", cwd=folder.parent, **env)
    assert followed.returncode != 0
    assert "data.csv" in followed.stdout
