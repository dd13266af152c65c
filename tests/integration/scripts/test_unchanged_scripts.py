"""Scripts that end in `fit` run unchanged, and give what plain Python gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.marked import slow

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
    reads = scripts.parent / "reads.txt"
    given = "--", "--epochs", "3", "--reads", str(reads)
    ran = cli("run", "images.py", "--backend", "local", *given, cwd=scripts, timeout=500)
    assert ran.returncode == 0, ran.stderr
    for what in ("history", "scores", "best"):
        for name, values in printed(alone, what).items():
            assert printed(ran.stdout, what)[name] == pytest.approx(values, rel=1e-5), (what, name)
    assert [line for line in ran.stdout.splitlines() if line.startswith("epoch 2")] == [
        "epoch 2 ['accuracy', 'loss', 'val_accuracy', 'val_loss']"
    ]
    assert (scripts / "best.keras").is_file()
    # The process that looks at the script first, two workers and the evaluator read the data, once each.
    assert [*Counter(reads.read_text().split()).values()] == [1] * 4


def test_a_script_is_planned_as_far_as_its_fit(cli: Any, scripts: Path) -> None:
    before = sorted(path.name for path in scripts.iterdir())
    planned = cli("plan", "images.py", "--mode", "async", "--json", "--", "--epochs", "3", cwd=scripts, timeout=300)
    assert planned.returncode == 0, planned.stderr
    budget = json.loads(planned.stdout)["budget"]
    assert (budget["epochs"], budget["samples_per_step"]) == (3, 32)
    assert "in async, fit's batch size of 32 is that of each worker's update" in planned.stderr
    assert sorted(path.name for path in scripts.iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("import keras\ndef load():\n    raise ValueError('no data today')\nload()\nmodel.fit(1)", 3, "in load\n"),
        slow("import sys\nif len(sys.argv) > 5:\n    model.fit(1)", 2, "ended without calling fit of a Keras model"),
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
    lines = [line for line in ran.stderr.splitlines() if line.startswith("regatta: ")]
    assert len([line for line in lines if "is still being loaded" not in line]) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_last_of_several_fits_is_judged_and_each_run_has_files_of_its_own(cli: Any, scripts: Path) -> None:
    """In `run`, files are where the script is run; in `compare`, nothing of the user's is touched."""
    np.save(scripts / "rows.npy", np.random.default_rng(0).normal(size=(640, 8)).astype("float32"))
    alone = plain("two_fits.py", cwd=scripts)
    (scripts / "out" / "tuned.keras").unlink()
    (scripts / "lines.txt").write_text("mine\n")
    before = {path: path.read_bytes() for path in scripts.rglob("*") if path.is_file()}
    options = "--backend", "local", "--modes", "sync,async", "--seeds", "1", "--out", "contest"
    ran = cli("compare", "two_fits.py", *options, cwd=scripts, timeout=900)
    assert ran.returncode == 0, ran.stderr
    assert "two_fits.py calls fit 2 times: each is trained" in ran.stderr
    after = {path for path in scripts.rglob("*") if path.is_file() and not {"contest", "__pycache__"} & {*path.parts}}
    assert {path: path.read_bytes() for path in after} == before
    runs = sorted((scripts / "contest" / "runs").iterdir())
    assert len(runs) == 2
    report = (scripts / "contest" / "report.md").read_text()
    assert "fit 2 of the script is compared; every run trained fit 1 itself" in report
    for run in runs:
        assert {path.name for path in run.rglob("out/*")} == {"head.keras", "tuned.keras"}, run
        assert (run / "lines.txt").read_text() == "mine\n1\n2\n"
        assert json.loads((run / "result.json").read_text())["steps"] == 40
        assert len(json.loads((run / "files" / "result.json").read_text())) == 2

    ran = cli("run", "two_fits.py", "--backend", "local", "--workers", "2", cwd=scripts, timeout=500)
    assert ran.returncode == 0, ran.stderr
    for what in ("first", "second"):
        for name, values in printed(alone, what).items():
            assert printed(ran.stdout, what)[name] == pytest.approx(values, rel=1e-5), (what, name)
    assert (scripts / "lines.txt").read_text() == "mine\n1\n2\n"
    assert (scripts / "out" / "tuned.keras").is_file()


def test_a_folder_above_the_users_takes_all_writes(tmp_path: Path) -> None:
    written = plain(str(SCRIPTS / "many_files.py"), str(tmp_path), str(tmp_path / "runs" / "one"), cwd=tmp_path)
    assert " best.keras " in written
    assert " data/deep/absolute.txt " in written
    assert " files/result.json " in written
    assert " late.txt " in written


def test_the_timeout_counts_before_fit(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import time\ntime.sleep(600)\nmodel.fit(1)")
    ran = cli("run", "train.py", "--timeout", "1", timeout=200)
    assert ran.returncode == 2
    assert "train.py did not come to its fit" in ran.stderr
