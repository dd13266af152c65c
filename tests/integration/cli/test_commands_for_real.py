"""The commands a user types, with real Ray and real TensorFlow, from an empty folder."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.resume import plan_resume
from tests.conftest import regatta
from tests.integration.local_runs import JOBS
from tests.integration.processes import all_gone, marked
from tests.marked import slow

SEEDS = 2
LONG = 100_000_000


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """`regatta compare digits`, in a folder whose own `workers` and `jobs` would shadow ours."""
    folder = tmp_path_factory.mktemp("compare")
    for name in ("workers", "jobs", "orchestrator"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('the user has a folder of this name')\n")
    mark = f"REGATTA_TEST={uuid.uuid4().hex}"
    done = regatta(
        "compare", "digits", "--seeds", str(SEEDS), "--out", "result", "--json", cwd=folder,
        **dict([mark.split("=")]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all_gone(mark) == {}
    return folder / "result", json.loads(done.stdout), done.stderr


def test_every_seed_of_every_mode_reaches_the_target(compared: tuple[Path, dict[str, Any], str]) -> None:
    _, document, _ = compared
    assert set(document["modes"]) == {"single", "sync", "async"}
    for mode in document["modes"].values():
        assert [run["seed"] for run in mode["runs"]] == list(range(SEEDS))
        for run in mode["runs"]:
            assert run["status"] == "succeeded"
            assert run["target"]["reached"]
            assert run["final"]["val_accuracy"] >= 0.9  # after the target was met, a run takes some more steps


def test_the_document_is_the_one_promised(compared: tuple[Path, dict[str, Any], str]) -> None:
    folder, document, _ = compared
    assert document == json.loads((folder / "comparison.json").read_text())
    assert {"schema", "job", "baseline", "seeds", "modes", "verdict"} <= set(document)
    for name, mode in document["modes"].items():
        assert {"runs", "summary"} <= set(mode)
        for run in mode["runs"]:
            assert {
                "schema", "run_id", "job", "mode", "seed", "status", "stop_reason", "tasks", "steps", "samples",
                "seconds", "throughput", "target", "final", "stability", "staleness", "utilization", "cost",
                "attempts", "failures",
            } <= set(run)  # fmt: skip
            assert {"launch", "to_first_step", "training", "total"} <= set(run["seconds"])
            assert (run["staleness"] is None) == (name != "async")
            assert run["utilization"]["gpu_percent"] is None
            assert run["cost"] is None


def test_seeds_after_the_first_pay_no_launch(compared: tuple[Path, dict[str, Any], str]) -> None:
    _, document, _ = compared
    for mode in document["modes"].values():
        launches = [run["seconds"]["launch"] for run in mode["runs"]]
        assert launches[0] > 0
        assert launches[1:] == [None] * (SEEDS - 1)


def test_every_run_leaves_its_folder(compared: tuple[Path, dict[str, Any], str]) -> None:
    folder, document, _ = compared
    for mode in document["modes"].values():
        for run in mode["runs"]:
            path = folder / "runs" / run["run_id"]
            assert json.loads((path / "result.json").read_text()) == run
            assert (path / "spec.yaml").exists()
            assert json.loads((path / "plan.json").read_text())["mode"] == run["mode"]
            with sqlite3.connect(path / "metrics.db") as db:
                steps, distinct = db.execute("SELECT COUNT(*), COUNT(DISTINCT step) FROM steps").fetchone()
            assert steps == distinct == run["steps"] == run["optimizer_iterations"]


def test_text_goes_to_stderr_and_tensorflows_noise_to_the_logs(compared: tuple[Path, dict[str, Any], str]) -> None:
    folder, _, text = compared
    assert "reached val_accuracy>=0.95" in text
    assert "tensorflow" not in text.lower()
    logs = list((folder / "runs").glob("*-s0/logs/*.log"))
    assert any("grpc" in log.read_text(errors="replace") for log in logs)


def test_report_shows_it_again(compared: tuple[Path, dict[str, Any], str]) -> None:
    folder, document, _ = compared
    shown = regatta("report", folder, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert "Verdict" in shown.stdout
    listed = regatta("runs", folder / "runs", "--json", cwd=folder)
    assert len(json.loads(listed.stdout)) == 3 * SEEDS
    assert document["job"] in shown.stdout


def test_a_second_run_into_the_same_folder_is_refused(compared: tuple[Path, dict[str, Any], str]) -> None:
    folder, _, _ = compared
    again = regatta("run", "digits", "--out", folder, cwd=folder)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_the_users_exception_is_shown_once(cli, tmp_path: Path) -> None:
    done = cli("run", f"{JOBS / 'broken.py'}:RaisesInModel", "--samples", "64", "--out", "run")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count('raise RuntimeError("no such layer in this house")') == 1
    assert re.search(r"failed in (worker|evaluator):0.*(worker|evaluator)-0\.log", done.stderr)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["failures"][0]["kind"] == "user"
    assert result["steps"] is None


def test_more_gpus_than_there_are(cli) -> None:
    done = cli("run", "digits", "--gpus-per-worker", "8")
    assert done.returncode == 2, done.stderr
    assert "16 GPUs" in done.stderr
    assert "--gpus-per-worker" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_timeout_ends_training_and_keeps_what_was_done(cli, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    done = cli(
        "run", f"{JOBS / 'hungry.py'}", "--samples", LONG, "--timeout", "60", "--out", "run",
        "--backend", "local", REGATTA_TEST=mark,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["stop_reason"]) == ("stopped", "timeout")
    assert 0 < result["steps"] == result["optimizer_iterations"]
    assert all_gone(mark) == {}


@pytest.mark.parametrize(
    ("signum", "code", "ended"),
    [(signal.SIGINT, 130, ("stopped", "interrupted")), slow(signal.SIGTERM, 0, ("preempted", "preempted"))],
)
def test_an_interrupted_run_leaves_nothing_behind(
    tmp_path: Path, signum: int, code: int, ended: tuple[str, str]
) -> None:
    mark = uuid.uuid4().hex
    command = ["run", f"{JOBS / 'exact.py'}", "--samples", str(LONG), "--out", "run"]
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", *command],
        cwd=tmp_path,
        env=os.environ | {"REGATTA_TEST": mark},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not _steps(tmp_path / "run" / "metrics.db"):
        time.sleep(0.2)
    assert len(marked(mark)) > 3
    os.killpg(child.pid, signum)  # as a terminal does
    _, text = child.communicate(timeout=120)
    assert child.returncode == code, text
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["stop_reason"]) == ended
    planned, start = plan_resume(tmp_path / "run", {})
    assert planned.resumed is not None
    assert start.startswith(f"from step {result['steps']:,} "), "the checkpoint of the last step was written"
    if signum == signal.SIGINT:
        assert f"interrupted after step {result['steps']:,}. `regatta resume run` continues from its last" in text
    assert result["steps"] > 0
    assert all_gone(mark) == {}


@pytest.mark.slow
def test_a_killed_driver_leaves_no_orphans_and_a_run_that_can_be_resumed(cli, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    command = ["run", f"{JOBS / 'exact.py'}", "--mode", "async", "--samples", str(LONG), "--out", "run"]
    command += ["--checkpoint-seconds", "1"]
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", *command],
        cwd=tmp_path,
        env=os.environ | {"REGATTA_TEST": mark},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    manifests = tmp_path / "run" / "checkpoints"
    metrics = tmp_path / "run" / "metrics.db"  # committed every 2 s, which the first checkpoint may precede
    while time.monotonic() < deadline and not (list(manifests.glob("*-1/manifest.json")) and _steps(metrics)):
        time.sleep(0.2)
    child.kill()
    child.wait()
    assert all_gone(mark, seconds=30) == {}
    reported = _steps(metrics)
    assert reported > 0
    done = cli("resume", "run", "--timeout", "90", "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    assert "continues from step" in done.stderr
    result = json.loads(done.stdout)
    assert (result["attempts"], result["stop_reason"]) == (2, "timeout")
    assert result["steps"] > reported
    assert result["steps"] + result["doubled_updates"] == result["optimizer_iterations"]


def _steps(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT COUNT(*) FROM steps").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
