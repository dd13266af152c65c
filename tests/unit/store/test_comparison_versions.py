"""The folder of a comparison of 0.1: it is read, listed, reported and resumed, also under another name; of a later
version, that is said.

`comparison_of_0.1` was preempted in its second run of four. Do not make it again with a later version: it is what users
of 0.1 have.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.comparison.resume import remaining_runs, stored_comparison_spec
from orchestrator.errors import UsageError
from orchestrator.report import write_reports
from orchestrator.results import RunResult
from orchestrator.runs.planned import Planned
from orchestrator.view.catalog import latest, list_runs
from tests.conftest import regatta

COMPARISON = Path(__file__).with_name("comparison_of_0.1")


@pytest.fixture(params=["compared", "renamed"])
def comparison(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPARISON, tmp_path / request.param))


def planned(path: Path, results: list[RunResult]) -> tuple[list[Planned], list[Planned], list[str]]:
    """The first runs, the first of those to follow, and what is told."""
    said: list[str] = []
    first_runs, rest = remaining_runs(stored_comparison_spec(path, {}), path, results, said.append)
    return first_runs, [next(rest)], said


def test_it_is_read_and_listed(comparison: Path) -> None:
    (entry,) = list_runs(comparison.parent)
    assert (entry.kind, entry.mode, entry.status) == ("comparison", "sync,async", "unfinished")
    assert latest(comparison.parent, resumable=True) == comparison


def test_it_is_reported_and_still_has_runs_to_train(comparison: Path) -> None:
    write_reports(comparison)
    written = json.loads((comparison / "comparison.json").read_text())
    assert {name: [run["status"] for run in found["runs"]] for name, found in written["modes"].items()} == {
        "sync": ["succeeded"],
        "async": ["preempted"],
    }
    assert (comparison / "report.html").is_file()
    (entry,) = list_runs(comparison.parent)
    assert entry.status == "unfinished"
    assert entry.outcome.endswith("(3 of 4 runs are missing)")
    assert latest(comparison.parent, resumable=True) == comparison


def test_its_runs_continue_where_they_were(comparison: Path) -> None:
    """Under another name of the folder too: their ids are parts of the names of checkpoints, and stay."""
    results: list[RunResult] = []
    first_runs, following, said = planned(comparison, results)
    assert [one.run_id for one in first_runs] == ["compared-async-s0", "compared-sync-s1"]
    assert [one.run_id for one in following] == ["compared-async-s0"]
    assert first_runs[0].path == comparison / "runs" / "compared-async-s0"
    assert first_runs[0].resumed is not None
    assert first_runs[0].resumed.attempt == 2
    assert first_runs[1].resumed is None
    assert len(said) == 1
    assert said[0].startswith("compared-async-s0 continues from step 234 (")
    assert [(one.run_id, one.samples) for one in results] == [("compared-sync-s0", 16_000)]


@pytest.mark.slow
@pytest.mark.parametrize("comparison", ["renamed"], indirect=True)
def test_it_is_resumed_to_its_end(comparison: Path) -> None:
    before = (comparison / "runs" / "compared-sync-s0" / "result.json").read_bytes()
    done = regatta("resume", comparison, "--json", cwd=comparison.parent)
    assert done.returncode == 0, done.stderr
    runs = {run["run_id"]: run for mode in json.loads(done.stdout)["modes"].values() for run in mode["runs"]}
    assert {name: (run["status"], run["samples"], run["attempts"]) for name, run in runs.items()} == {
        "compared-sync-s0": ("succeeded", 16_000, 1),
        "compared-sync-s1": ("succeeded", 16_000, 1),
        "compared-async-s0": ("succeeded", 16_000, 2),
        "compared-async-s1": ("succeeded", 16_000, 1),
    }
    assert {path.name for path in (comparison / "runs").iterdir()} == set(runs)
    assert (comparison / "runs" / "compared-sync-s0" / "result.json").read_bytes() == before
    assert [entry.status for entry in list_runs(comparison.parent)] == ["finished"]
    again = regatta("resume", comparison, cwd=comparison.parent)
    assert again.returncode == 2
    assert "is finished, so there is nothing to resume" in again.stderr


def test_a_later_version_is_said(comparison: Path) -> None:
    with (comparison / "comparison.yaml").open("a") as spec:
        spec.write("judge: bayes\n")
    with pytest.raises(UsageError) as raised:
        stored_comparison_spec(comparison, {})
    assert "written by Regatta" not in str(raised.value), "its environments name this version"
    for path in comparison.glob("runs/*/environment.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"regatta": "7.2.0"}))
    with pytest.raises(UsageError, match=r"written by Regatta 7\.2\.0, and this is 0\.[\d.]+: use that"):
        stored_comparison_spec(comparison, {})


@pytest.mark.parametrize("comparison", ["renamed"], indirect=True)
def test_of_runs_under_two_names_those_of_the_folder_count(comparison: Path) -> None:
    """0.1 began again when the folder had been renamed."""
    run = comparison / "runs" / "compared-sync-s0"
    shutil.copytree(run, run.with_name("renamed-sync-s0"))
    results: list[RunResult] = []
    first_runs, _, _ = planned(comparison, results)
    assert first_runs[0].run_id == "renamed-async-s0"
    assert len(results) == 1
