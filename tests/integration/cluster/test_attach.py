"""`--address`: attaches to a running cluster, from a folder that the cluster does not have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import regatta
from tests.integration.processes import as_another_user
from tests.integration.ray_nodes import REGATTA, Head
from tests.integration.scripts.test_several_fits import STAGES, has_plain_numbers
from tests.integration.scripts.test_unchanged_scripts import SCRIPTS, plain, printed
from tests.marked import slow

JOB = """
import near
from jobs.digits import Digits


class Mine(Digits):
    def build_model(self):
        return near.model(super().build_model)


class Fails(Digits):
    def build_model(self):
        return near.model(None)
"""
NEAR = """
def model(build):
    if build is None:
        raise RuntimeError("no such layer near the job")
    return build()
"""


ALL = "single,sync,async"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(JOB)
    (tmp_path / "near.py").write_text(NEAR)
    return tmp_path


def call(head: Head, folder: Path, *arguments: str, **env: str) -> Any:
    return regatta(*arguments, cwd=folder, **(dict(head.env) | env))


@pytest.mark.parametrize(("how", "modes"), [("gcs", "async"), slow("gcs", ALL), slow("client", ALL)])
def test_every_mode_trains_there(head: Head, folder: Path, how: str, modes: str) -> None:
    where = ("--modes", modes, "--address", getattr(head, how))
    done = call(head, folder, "compare", "mine.py:Mine", "--seeds", "1", *where, "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    for name, mode in document["modes"].items():
        (run,) = mode["runs"]
        assert run["status"] == "succeeded"
        assert run["target"]["reached"]
        logs = folder / "out" / "runs" / run["run_id"] / "logs"
        tasks = {"single": ["worker-0"], "sync": ["worker-0", "worker-1"], "async": ["chief-0", "worker-1"]}[name]
        assert {f"{task}.log" for task in tasks} <= {p.name for p in logs.iterdir()}


@pytest.mark.slow
def test_several_fits_of_a_script_train_there(head: Head, tmp_path: Path) -> None:
    shutil.copy(SCRIPTS / "stages.py", tmp_path)
    alone = plain("stages.py", cwd=tmp_path)
    done = call(head, tmp_path, "run", "stages.py", "--address", head.gcs, "--workers", "2", "--out", "out")
    assert done.returncode == 0, done.stderr
    has_plain_numbers(done.stdout, alone, *STAGES)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [fit["status"] for fit in result["earlier_fits"]] == ["succeeded"] * 2


@pytest.mark.slow
def test_a_script_trains_there_and_goes_on(head: Head, tmp_path: Path) -> None:
    """With the module beside it; what it writes and prints comes from the leader."""
    for name in ("images.py", "images_model.py"):
        shutil.copy(SCRIPTS / name, tmp_path)
    done = call(head, tmp_path, "run", "images.py", "--address", head.gcs, "--out", "out", "--", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout, "scores").keys() == printed(done.stdout, "best").keys() == {"accuracy", "loss"}
    assert len(printed(done.stdout, "history")["val_loss"]) == 2
    assert json.loads((tmp_path / "out" / "result.json").read_text())["steps"] == 40


@pytest.mark.slow
def test_the_users_traceback_has_the_users_paths(head: Head, folder: Path) -> None:
    done = call(head, folder, "run", "mine.py:Fails", "--address", head.gcs)
    assert done.returncode == 3, done.stderr
    assert f'File "{folder / "near.py"}", line 4, in model' in done.stderr
    assert 'raise RuntimeError("no such layer near the job")' in done.stderr


def test_more_than_the_cluster_has(head: Head, folder: Path) -> None:
    done = call(head, folder, "run", "digits", "--workers", "40", "--address", head.gcs)
    assert done.returncode == 2, done.stderr
    assert "40 worker, 1 evaluator need 41 CPUs, and the cluster has 9" in done.stderr


@pytest.mark.parametrize("how", ["gcs", slow("client")])
def test_a_wrong_token_and_none(head: Head, folder: Path, how: str) -> None:
    address = getattr(head, how)
    wrong = call(head, folder, "run", "digits", "--address", address, RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode == 4, wrong.stderr
    assert "rejects yours" in wrong.stderr
    none = call(head, folder, "run", "digits", "--address", address, RAY_AUTH_TOKEN="", HOME=str(folder))
    assert none.returncode == 4, none.stderr
    assert "you have none" in none.stderr
    assert "RAY_AUTH_TOKEN" in none.stderr


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("127.0.0.1:9", 4, "No Ray cluster answers at 127.0.0.1:9"),
        ("ray://127.0.0.1:9", 4, "No Ray cluster answers at ray://127.0.0.1:9"),
        ("http://127.0.0.1:8265", 2, "regatta submit"),
        ("somewhere", 2, "HOST:6379"),
    ],
)
def test_no_cluster_there(folder: Path, address: str, code: int, words: str) -> None:
    done = regatta("run", "digits", "--address", address, cwd=folder, timeout=30)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not list(folder.glob("runs/*/result.json"))


@pytest.mark.skipif(os.getuid() != 0, reason="a second user is made by root")
def test_another_users_cluster(head: Head, folder: Path) -> None:
    """Ray would abort the process with a C++ stack."""
    done = subprocess.run(
        [*as_another_user(), *REGATTA, "run", "digits", "--address", head.gcs, "--out", "/tmp/none/out"],
        cwd="/", env=os.environ | dict(head.env), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "do not accept the user with id 12345. Attach with --address ray://" in done.stderr
    assert done.stderr.strip().count("\n") <= 1
