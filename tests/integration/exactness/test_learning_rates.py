"""The learning rate that is reported with the steps is the optimizer's, wherever its variables are."""

from __future__ import annotations

import pytest

from tests.integration.local_runs import Broken, train
from tests.marked import slow
from workers.messages import FailureKind


@pytest.mark.parametrize("mode", ["sync", slow("async"), slow("local:4")])
@pytest.mark.parametrize("schedule", [True, slow(False)])
def test_it_is_the_optimizers(mode: str, schedule: bool) -> None:
    fields = {"workers": 2, "batch_size": 64, "samples": 64 * 4000, "params": {"schedule": schedule}}
    rates = [batch.learning_rate or 0.0 for batch in train("exact.py", mode=mode, **fields)[0].batches]
    if schedule:  # 0.01 * 0.9^(updates / 10), read four times a second
        assert rates == sorted(rates, reverse=True)
        assert 0 <= rates[-1] < rates[0] <= 0.01
    else:
        assert {*rates} == {0.01}


@pytest.mark.slow
def test_one_rate_for_an_optimizer_with_several_is_refused() -> None:
    fields = {"mode": "sync", "workers": 1, "batch_size": 16, "samples": 320, "params": {"kind": "by_layer"}}
    assert {batch.learning_rate for batch in train("reported.py", **fields)[0].batches} == {None}
    with pytest.raises(Broken) as broken:
        train("reported.py", learning_rate=0.1, **fields)
    assert broken.value.cause.kind is FailureKind.SPEC
    assert "MultiOptimizer has 2 optimizers with rates of their own" in broken.value.cause.summary
