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


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("import keras\ndef load():\n    raise ValueError('no data today')\nload()\nmodel.fit(1)", 3, "in load\n"),
        ("import sys\nif len(sys.argv) > 5:\n    model.fit(1)", 2, "ended without calling fit of a Keras model"),
        ("import tensorflow as tf\nwith tf.GradientTape() as tape: ...", 2, "GradientTape in train.py:2"),
    ],
)
def test_a_script_that_does_not_come_to_fit_is_explained_before_anything_starts(
    cli: Any, tmp_path: Path, source: str, code: int, said: str
) -> None:
    (tmp_path / "train.py").write_text(source)
    ran = cli("run", "train.py", timeout=200)
    assert (ran.returncode, "starting" in ran.stderr) == (code, False)
    assert said in ran.stderr
    assert ran.stderr.count("regatta: ") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_each_variant_of_a_comparison_has_files_of_its_own(cli: Any, scripts: Path) -> None:
    before = sorted(path.name for path in scripts.iterdir())
    ran = cli(
        "compare", "images.py", "--backend", "local", "--seeds", "1", "--out", "contest", cwd=scripts, timeout=900
    )
    assert ran.returncode == 0, ran.stderr
    found = {path.name for path in scripts.iterdir()} - {"contest", "__pycache__"}
    assert sorted(found) == [name for name in before if name != "__pycache__"]
    assert len(list(scripts.glob("contest/runs/*/best.keras"))) == 3  # single, sync, async


@pytest.mark.slow
def test_one_of_several_fits_is_trained_and_the_others_by_keras(cli: Any, scripts: Path) -> None:
    alone = plain("two_fits.py", cwd=scripts)
    ran = cli("run", "two_fits.py", "--backend", "local", "--fit", "2", cwd=scripts, timeout=500)
    assert ran.returncode == 0, ran.stderr
    for what in ("first", "second"):
        for name, values in printed(alone, what).items():
            assert printed(ran.stdout, what)[name] == pytest.approx(values, rel=1e-5), (what, name)
    assert "fit 1 (two_fits.py:16) is trained by Keras in one process" in ran.stdout


def test_the_timeout_counts_before_fit(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import time\ntime.sleep(600)\nmodel.fit(1)")
    ran = cli("run", "train.py", "--timeout", "1", timeout=200)
    assert ran.returncode == 2
    assert "train.py did not come to its fit" in ran.stderr
