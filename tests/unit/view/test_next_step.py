"""What a comparison's last lines say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.results import Comparison
from orchestrator.view.next_step import SUBMISSION, after_comparison, after_run
from tests.unit.simulated_runs import a_comparison, some_runs

pytestmark = pytest.mark.unit


def won_by(winner: str | None) -> Comparison:
    comparison = a_comparison(sync=some_runs("sync", 10.0), single=some_runs("single", 20.0))
    return comparison.model_copy(update={"verdict": comparison.verdict.model_copy(update={"winner": winner})})


def test_the_winner_is_served_with_one_command(tmp_path: Path) -> None:
    comparison = won_by("sync")
    report, folder = f"Report: {tmp_path}/report.html", f"Folder: {tmp_path}"
    assert after_comparison(comparison, tmp_path) == [report, folder]  # its models are on another host
    run = tmp_path / "runs" / comparison.modes["sync"].runs[1].run_id
    run.mkdir(parents=True)
    (run / "model.keras").touch()
    _, models, *_, line = after_comparison(comparison, tmp_path)
    assert models == f"Models: {tmp_path}/runs/*/model.keras"
    assert line.endswith(f": regatta serve {run} --name my_model")
    assert after_comparison(won_by(None), tmp_path) == [report, models, folder]


def test_what_a_cluster_has_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUBMISSION, "ranks")
    expected = [f"Folder: {tmp_path}, on the cluster", "Next: regatta fetch ranks, which brings it to you"]
    assert after_comparison(won_by("sync"), tmp_path) == expected
    assert after_run(some_runs("sync", 10.0)[0], tmp_path) == expected
