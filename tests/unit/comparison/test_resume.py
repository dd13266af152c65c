"""A comparison that is resumed: runs that are done are kept, the others follow, and a finished one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.comparison.resume import remaining_runs, stored_comparison_spec
from orchestrator.comparison.schedule import assemble, schedule
from orchestrator.errors import UsageError
from orchestrator.report import write_reports
from orchestrator.results import RunResult
from orchestrator.runs.planned import Planned
from orchestrator.spec.comparison import CompareSpec
from orchestrator.store.directory import RunStore, write_comparison, write_comparison_spec
from tests.unit.comparison.test_schedule import TWO, result_of


def stored(path: Path, done: int) -> tuple[CompareSpec, list[Planned]]:
    """A comparison of two modes and two seeds with a comparison.json, of which `done` runs have results."""
    spec = CompareSpec.make(TWO | {"seeds": 2})
    path.mkdir()
    write_comparison_spec(path, spec.model_dump(mode="json"))
    results: list[RunResult] = []
    runs = schedule(spec, path, results)[1]
    planned = [next(runs)]
    while True:
        try:
            planned.append(runs.send(result_of(planned[-1])))
        except StopIteration:
            break
    for one in planned[:done]:
        one.path.mkdir(parents=True)
        store = RunStore(one.path)
        store.write_result(result_of(one))
        store.close()
    write_comparison(path, assemble(path.name, spec, results[:done]))
    return spec, planned


def test_runs_that_failed_or_were_not_trained_follow_although_a_report_was_written(tmp_path: Path) -> None:
    """`regatta report` of a comparison that crashed writes comparison.json."""
    path = tmp_path / "c"
    _, planned = stored(path, 3)
    documents = [planned[1].path / "result.json", planned[2].path / "result.json"]
    for document in documents:
        stored_result = json.loads(document.read_text())
        document.write_text(json.dumps(stored_result | {"status": "failed", "stop_reason": "not trained"}))
    write_reports(path)
    assert (path / "comparison.json").exists()
    first_runs, _ = remaining_runs(stored_comparison_spec(path, {}), path, [], lambda _: None)
    assert {one.run_id for one in first_runs} == {planned[1].run_id, planned[2].run_id}


@pytest.mark.parametrize("done", [0, 1, 3])
def test_runs_that_a_timeout_left_out_follow(tmp_path: Path, done: int) -> None:
    """comparison.json was written all the same."""
    _, planned = stored(tmp_path / "c", done)
    spec = stored_comparison_spec(tmp_path / "c", {})
    results: list[RunResult] = []
    _, rest = remaining_runs(spec, tmp_path / "c", results, lambda _: None)
    following = [next(rest)]
    while True:
        try:
            following.append(rest.send(result_of(following[-1])))
        except StopIteration:
            break
    assert [one.run_id for one in following] == [one.run_id for one in planned[done:]]
    assert len(results) == 4


def test_a_comparison_without_missing_runs_is_finished(tmp_path: Path) -> None:
    stored(tmp_path / "c", 4)
    spec = stored_comparison_spec(tmp_path / "c", {})
    with pytest.raises(UsageError, match="is finished, so there is nothing to resume"):
        remaining_runs(spec, tmp_path / "c", [], lambda _: None)
