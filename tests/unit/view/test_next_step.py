"""What a comparison's last lines say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.results import Comparison
from orchestrator.view.next_step import after_comparison
from tests.unit.simulated_runs import a_comparison, some_runs

pytestmark = pytest.mark.unit


def won_by(winner: str | None) -> Comparison:
    comparison = a_comparison(sync=some_runs("sync", 10.0), single=some_runs("single", 20.0))
    return comparison.model_copy(update={"verdict": comparison.verdict.model_copy(update={"winner": winner})})


def test_the_winner_is_served_with_one_command(tmp_path: Path) -> None:
    comparison = won_by("sync")
    folder = f"Folder: {tmp_path}"
    assert after_comparison(comparison, tmp_path) == [folder]  # its models are on another host
    run = tmp_path / "runs" / comparison.modes["sync"].runs[1].run_id
    run.mkdir(parents=True)
    (run / "model.keras").touch()
    models, *_, line = after_comparison(comparison, tmp_path)
    assert models == f"Models: {tmp_path}/runs/*/model.keras"
    assert line.endswith(f": regatta serve {run} --name my_model")
    assert after_comparison(won_by(None), tmp_path) == [models, folder]
