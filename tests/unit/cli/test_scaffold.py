"""`regatta init`: the file it writes is a job, and nothing that was there is lost."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from jobs.api import Job
from jobs.scripts.recognise import recognise
from orchestrator.cli.scaffold import CLASS_NAME, write_job
from orchestrator.errors import UsageError

pytestmark = pytest.mark.unit

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_a_job(tmp_path: Path) -> None:
    write_job(tmp_path / "boats.py")
    job = getattr(loaded(tmp_path / "boats.py"), CLASS_NAME)
    assert issubclass(job, Job)
    assert job().params.hidden == 32
    assert job.defaults["target"] == "val_accuracy>=0.9"
    assert {"build_model", "train_dataset", "eval_dataset"} <= vars(job).keys()


def test_the_file_names_its_own_command(tmp_path: Path) -> None:
    write_job(tmp_path / "boats.py")
    text = (tmp_path / "boats.py").read_text()
    assert f"regatta compare boats.py:{CLASS_NAME}" in text
    assert "my_job.py" not in text


def test_the_script_is_one_and_names_its_own_command(tmp_path: Path) -> None:
    write_job(tmp_path / "boats.py", "my_script.py")
    assert recognise(tmp_path / "boats.py").is_script
    text = (tmp_path / "boats.py").read_text()
    assert "regatta compare boats.py" in text
    assert "my_script.py" not in text


def test_the_data_is_the_same_in_every_process(tmp_path: Path) -> None:
    write_job(tmp_path / "boats.py")
    half_moons = loaded(tmp_path / "boats.py").half_moons
    (points, labels), (again, _) = half_moons(500, seed=1), half_moons(500, seed=1)
    assert (points == again).all()
    assert (points.shape, points.dtype, labels.dtype) == ((500, 2), "float32", "int32")
    assert 0.4 < labels.mean() < 0.6


def test_the_file_is_formatted(tmp_path: Path) -> None:
    write_job(tmp_path / "boats.py")
    write_job(tmp_path / "rowing.py", "my_script.py")
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--check",
        "--config",
        os.fspath(PYPROJECT),
        os.fspath(tmp_path),
    ]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["job", "job.txt", "job.yaml", "job.PY", ".py"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"does not end in \.py"):
        write_job(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["jobs.py", "keras.py", "numpy.py", "random.py", "workers.py"])
def test_names_of_modules_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="would be imported instead"):
        write_job(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        write_job(path)
    assert path.read_text() == "precious"


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(UsageError, match="exists already"):
        write_job(tmp_path / "link.py")
    assert not (tmp_path / "elsewhere.py").exists()


def test_folders_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        write_job(tmp_path / "no" / "job.py")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        write_job(tmp_path / "file" / "job.py")
