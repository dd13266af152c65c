"""What a file is, by its syntax: a job, a script, both, or a loop of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.loading import JobNotFound, load_job_class
from jobs.scripts.job import ScriptJob
from jobs.scripts.recognise import recognise

pytestmark = pytest.mark.unit

JOB = "from jobs.api import Job\nclass Mine(Job): ...\n"
FIT = "import keras\nmodel = keras.Sequential()\nmodel.fit([1], [2])\n"


@pytest.mark.parametrize(
    ("source", "jobs", "fits", "loop"),
    [
        (FIT, (), ("train.py:3",), None),
        (JOB, ("Mine",), (), None),
        (JOB + FIT, ("Mine",), ("train.py:5",), None),
        ("class Mine(jobs.api.Job):\n  def f(self): scaler.fit(x)\n", ("Mine",), (), None),
        ("if __name__ == '__main__':\n  main(model.fit(x, callbacks=[f()]))", (), ("train.py:2",), None),
        ("with tf.GradientTape() as tape: pass", (), (), "GradientTape in train.py:1"),
        ("strategy.run(step)", (), (), "strategy.run in train.py:1"),
        ("subprocess.run('ls')", (), (), None),
        ("import helper", (), ("helper.py:3",), None),
        ("from pack import training", (), ("training.py:3",), None),
        ("'model.fit(x)'  # model.fit(y)", (), (), None),
    ],
)
def test_a_file_is_recognised_without_being_run(
    tmp_path: Path, source: str, jobs: tuple[str, ...], fits: tuple[str, ...], loop: str | None
) -> None:
    (tmp_path / "helper.py").write_text(FIT)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "training.py").write_text(FIT)
    (tmp_path / "train.py").write_text(source)
    found = recognise(tmp_path / "train.py")
    assert (found.jobs, found.fits, found.own_loop) == (jobs, fits, loop)


def test_a_script_becomes_a_job_and_a_job_stays_one(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("raise AssertionError('run')\n" + FIT)
    (tmp_path / "both.py").write_text(JOB + "if False:\n    model.fit(x)\n")
    (tmp_path / "loop.py").write_text("raise AssertionError('run')\nwith tf.GradientTape() as tape: ...\n")
    assert issubclass(load_job_class("script.py", str(tmp_path)), ScriptJob)
    assert not issubclass(load_job_class("both.py", str(tmp_path)), ScriptJob)
    assert issubclass(load_job_class("both.py:__main__", str(tmp_path)), ScriptJob)
    with pytest.raises(JobNotFound, match=r"loop of its own \(GradientTape in loop.py:2\).*model.fit"):
        load_job_class("loop.py", str(tmp_path))
