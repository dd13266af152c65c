"""Scripts that call `fit` several times: each is trained by the run's workers, and gives what plain Python gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scripts.test_unchanged_scripts import plain, printed, scripts  # noqa: F401 - a fixture

COMMAND = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()"]
STAGES = ("first", "again", "features", "second", "scores")
"""What stages.py prints, each once."""


def has_plain_numbers(output: str, alone: str, *printed_names: str) -> None:
    for what in printed_names:
        for name, values in printed(alone, what).items():
            assert printed(output, what)[name] == pytest.approx(values, rel=1e-5, abs=1e-6), (what, name)


def test_two_workers_train_every_fit_and_what_is_in_between_is_the_scripts(cli: Any, scripts: Path) -> None:  # noqa: F811
    """An optimizer goes on, layers are shared with a second model, and data are made with the first."""
    alone = plain("stages.py", cwd=scripts)
    ran = cli("run", "stages.py", "--backend", "local", "--out", "run", cwd=scripts, timeout=900)
    assert ran.returncode == 0, ran.stderr
    has_plain_numbers(ran.stdout, alone, *STAGES)
    result = json.loads((scripts / "run" / "result.json").read_text())
    first, again = result["earlier_fits"]
    assert [(fit["fit"], fit["mode"], fit["status"], fit["samples"], fit["epochs"]) for fit in (first, again)] == [
        (1, "sync", "succeeded", 1080, 3.0),
        (2, "sync", "succeeded", 960, 2.0),
    ]
    assert first["line"] == "stages.py:51"
    assert result["samples"] == 1080
    assert result["seconds"]["total"] < result["seconds"]["launch"] + 100  # of the judged fit alone


@pytest.mark.slow
def test_folds_in_a_loop_find_the_files_that_the_fits_before_have_written(cli: Any, scripts: Path) -> None:  # noqa: F811
    alone = plain("folds.py", cwd=scripts)
    for file in (scripts / "folds").iterdir():
        file.unlink()
    (scripts / "folds").rmdir()
    options = "--mode", "single", "--backend", "local", "--out", "run"
    ran = cli("run", "folds.py", *options, cwd=scripts, timeout=900)
    assert ran.returncode == 0, ran.stderr
    has_plain_numbers(ran.stdout, alone, "fold0", "fold1", "fold2")
    assert {path.name for path in (scripts / "folds").iterdir()} == {"0.keras", "1.keras", "2.keras"}


@pytest.mark.slow
def test_a_last_fit_that_depends_on_the_one_before_is_trained_as_it_is_called_or_refused(
    cli: Any,
    scripts: Path,  # noqa: F811
) -> None:
    """Tried with one batch, the first `fit` has the same loss in both epochs, which the second depends on."""
    options = "--mode", "single", "--backend", "local"
    ran = cli("run", "dependent.py", *options, "--out", "refused", cwd=scripts, timeout=900)
    assert ran.returncode == 2, ran.stderr
    assert "called with epochs=1, batch_size=16 when the run was planned" in ran.stderr
    assert "Give --epochs 3 --global-batch-size 32 to train it so." in ran.stderr
    chosen = "--epochs", "3", "--global-batch-size", "32"
    ran = cli("run", "dependent.py", *options, *chosen, "--out", "run", cwd=scripts, timeout=900)
    assert ran.returncode == 0, ran.stderr
    has_plain_numbers(ran.stdout, plain("dependent.py", cwd=scripts), "history")


@pytest.mark.slow
def test_a_kill_in_the_first_and_in_the_last_fit_costs_nothing_but_time(cli: Any, scripts: Path) -> None:  # noqa: F811
    alone = plain("stages.py", cwd=scripts)
    options = "--backend", "local", "--out", "run", "--checkpoint-every", "120"
    ran = cli("run", "stages.py", *options, "--", "--kill", str(scripts), cwd=scripts, timeout=1500)
    assert ran.returncode == 0, ran.stderr
    _, *last = ran.stdout.splitlines()  # what comes before a fit is run again, as far as its leader has to
    assert last.count(last[0]) == last.count(last[1]) == 2
    has_plain_numbers("\n".join(dict.fromkeys(ran.stdout.splitlines())), alone, *STAGES)
    result = json.loads((scripts / "run" / "result.json").read_text())
    assert [fit["attempts"] for fit in result["earlier_fits"]] == [2, 1]
    assert result["attempts"] == 2


@pytest.mark.slow
def test_a_run_is_resumed_in_the_fit_in_which_it_was_interrupted(
    scripts: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    alone = plain("stages.py", cwd=scripts)
    marks = tmp_path_factory.mktemp("marks")  # not below the command's folder, of which each fit sees its own
    begun = ["run", "stages.py", "--backend", "local", "--out", "run", "--", "--slow", str(marks)]
    first = interrupted(begun, marks / "slow-1", scripts)
    assert "\nfirst {" not in first
    second = interrupted(["resume", "run"], marks / "slow-3", scripts)
    assert "continues with fit 1 of 3, from step 1" in second
    last = subprocess.run(
        [*COMMAND, "resume", "run"], cwd=scripts, capture_output=True, text=True, timeout=900, check=False
    )
    assert last.returncode == 0, last.stderr
    assert "continues from step 1" in last.stderr
    has_plain_numbers(second, alone, "first", "again", "features")
    has_plain_numbers(last.stdout, alone, "second", "scores")


def interrupted(arguments: list[str], when: Path, folder: Path) -> str:
    """What a command prints that gets Ctrl-C once the file `when` is there."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    ) as command:
        ends = time.monotonic() + 600
        while not when.exists() and command.poll() is None and time.monotonic() < ends:
            time.sleep(0.05)
        command.send_signal(signal.SIGINT)
        output, _ = command.communicate(timeout=300)
    assert command.returncode == 130, output
    return output
