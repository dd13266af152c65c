"""Optimizers are found wherever a model keeps them; others are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integration import side_by_side
from tests.integration.jobs_under_test.optimizers import KEPT, REFUSED
from tests.integration.local_runs import Broken, train
from tests.marked import slow
from workers.messages import FailureKind

CASES = [(kept, early) for kept in KEPT for early in (False, True)]


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Any]:
    """Two devices of one worker, and `fit` on their joined batches."""
    cases = [case for case in side_by_side.asked_for(request, "case") if isinstance(case, tuple)]
    params = [{"kept": kept, "early": early} for kept, early in cases]
    answer = tmp_path_factory.mktemp("optimizers") / "answer.json"
    return dict(zip(cases, side_by_side.compare(2, "optimizers.py", params, answer), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_devices(case: tuple[str, bool], answers: dict[tuple[str, bool], Any]) -> None:
    answer = answers[case]
    assert "error" not in answer, answer["error"]
    ours, plain = answer["ours"], answer["plain"]
    np.testing.assert_allclose([o["loss"] for o in ours["logs"]], [p["loss"] for p in plain["logs"]], rtol=1e-6)
    for mine, theirs in zip(ours["weights"], plain["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_their_state_is_in_snapshots(mode: str) -> None:
    """Of a compiled optimizer that is not used (2 variables), of Adam for two weights (6), of SGD with momentum (4)."""
    fields = {"mode": mode, "workers": 1, "batch_size": 16, "params": {"kept": "nested"}}
    trained = train("optimizers.py", (side_by_side.SEED,), samples=side_by_side.STEPS * 16, **fields)[0]
    plain = side_by_side.plain("optimizers.py", {"kept": "nested"}, 1)
    np.testing.assert_allclose(trained.losses, [logs["loss"] for logs in plain["logs"]], rtol=1e-5)
    assert len(trained.final.optimizer) >= 2 + 6 + 4
    moments = [array for array in trained.final.optimizer if array.shape in ((8, 16), (16, 1))]
    assert len(moments) >= 3
    assert all(np.abs(array).max() > 0 for array in moments)


@pytest.mark.parametrize(
    ("mode", "kept", "words"),
    [
        ("sync", "module", "optimizer 'adam' (Adam), which the model does not hold"),
        slow("sync", "created_in_the_step", "creates an optimizer (Adam) in the first step"),
    ],
)
def test_others_are_refused_by_name(mode: str, kept: str, words: str) -> None:
    assert kept in REFUSED
    with pytest.raises(Broken) as broken:
        train("optimizers.py", mode=mode, workers=1, batch_size=16, samples=160, params={"kept": kept})
    assert broken.value.cause.kind is FailureKind.SPEC
    assert words in broken.value.cause.summary
