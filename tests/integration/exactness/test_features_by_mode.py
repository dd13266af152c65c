"""What a model and a run may have in which mode, as docs/modes.md says: every cell is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from tests.chaos.watched_runs import Onlooker, run
from tests.features_by_mode import cells, check_table, refused
from tests.integration.local_runs import Broken, train
from tests.unit.modes.test_features_by_mode import FIELDS
from workers.messages import FailureKind
from workers.modes.registry import traits

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "`gradient_accumulation_steps`": ("losses.py", {"kind": "accumulation"}),
    "several optimizers": ("optimizers.py", {"kept": "nested"}),
    "mixed precision (`mixed_float16`)": ("precision.py:Half", {}),
    "stateful layers": ("failing.py:Refused", {"what": "stateful"}),
}
RUN = "target, callbacks, checkpoints, price, stragglers, export"


def test_every_row_is_tried() -> None:
    check_table([*FIELDS, *MODELS, RUN, "staleness"])


@pytest.mark.parametrize(("feature", "mode", "cell"), cells(MODELS, [("several optimizers", "kasync")]))
def test_a_model(feature: str, mode: str, cell: str, tmp_path: Path) -> None:
    job, params = MODELS[feature]
    fields: dict[str, Any] = {
        "mode": mode,
        "workers": 1 if traits(mode).alone else 2,
        "batch_size": 16,
        "folder": tmp_path,
    }
    if traits(mode).stages:
        change_on_the_way(tmp_path, job, params, mode, cell)
        return
    if cell == "refused":
        with pytest.raises(Broken) as broken:
            train(job, params=params, samples=160, **fields)
        assert broken.value.cause.kind is FailureKind.SPEC
        return
    trained = train(job, params=params, samples=160, **fields)[0]
    assert trained.ended is not None
    assert trained.ended.finished.stopped is None


def change_on_the_way(path: Path, job: str, params: dict[str, Any], mode: str, cell: str) -> None:
    """Train a model in one mode and then in another, or see it refused before the first."""
    with refused(cell, SpecError):
        result = run(path, Onlooker(), job=job, params=params, mode=mode, steps=40, batch_size=16)
    if cell == "yes":
        assert (result.status, result.stop_reason, result.attempts) == ("succeeded", "budget", 2)


@pytest.mark.parametrize(("feature", "mode", "cell"), cells([RUN], []))
def test_a_run(feature: str, mode: str, cell: str, tmp_path: Path) -> None:
    assert cell == "yes"
    result = run(
        tmp_path,
        Onlooker(),
        job="called.py:Called",
        params={"set": "epochs"},
        mode=mode,
        steps=400,
        target="val_loss<=0.0001",
        price={"cpu": 1.0},
        straggler="persistent:worker=0,factor=1.5",
    )
    assert (result.status, result.stop_reason) == ("succeeded", "budget")
    assert result.target is not None
    assert not result.target.reached
    assert result.cost is not None
    assert result.cost > 0
    assert (result.staleness is None) is traits(mode).lockstep
    assert result.updates
    assert result.dropped_gradients is not None
    assert (tmp_path / "model.keras").is_file()
    notes = (tmp_path / "notes.txt").read_text().split("\n")
    assert notes[0] == "begin"
    assert notes[-2] == "end"
    assert list((tmp_path / "checkpoints").glob("*/manifest.json"))
