"""What `regatta simulate` answers and refuses, and what it takes from a stored run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.foresight.simulate import Question, simulate
from workers.modes.registry import MODES
from workers.modes.traits import ModeTraits

pytestmark = pytest.mark.unit

ASKED = Question(step_ms=10.0, exchange_ms=1.0, workers=(1, 4), steps=200)


def test_a_row_for_each_mode_and_number_of_workers() -> None:
    found = simulate(ASKED)
    rows = {(row["mode"], row["workers"]): row for row in found["rows"]}
    assert [*rows] == [("single", 1), ("sync", 1), ("sync", 4), ("async", 1), ("async", 4)]
    assert rows["single", 1]["speedup"] == pytest.approx(1)
    assert rows["sync", 1]["speedup"] == pytest.approx(1)  # there is no other worker to exchange with
    assert rows["sync", 4]["updates_per_s"] == pytest.approx(1 / 0.011)
    assert rows["async", 4]["staleness"] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modes": ("other",)}, "modes"),
        ({"workers": (4097,)}, "workers"),
        ({"workers": (0,)}, "workers"),
        ({"steps": 0}, "steps"),
        ({"steps": 10**9}, "steps"),
        ({"seed": -1}, "seed"),
        ({"step_ms": None}, "--step-ms"),
        ({"step_ms": 0.0}, "step_ms"),
        ({"step_ms": float("nan")}, "step_ms"),
        ({"exchange_ms": -1.0}, "exchange_ms"),
        ({"source": Path("run")}, "--from"),
        ({"straggler": "snails"}, "straggler"),
        ({"straggler": "trace:path=missing.csv"}, "straggler"),
    ],
)
def test_a_wrong_question_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(UsageError, match=field):
        simulate(replace(ASKED, **changes))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run's folder"):
        simulate(replace(ASKED, step_ms=None, source=tmp_path))


def test_a_mode_without_a_simulator_has_null_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "new", ModeTraits(implementation="m:C", summary=""))
    (row,) = simulate(replace(ASKED, modes=("new",), workers=(2,)))["rows"]
    assert row["batches_per_s"] is None
    assert row["speedup"] is None
    assert "new" in row["reason"]
