"""Samples per update and learning rates of a comparison's variants."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit


def per_update(**fields: Any) -> dict[str, int]:
    runs = CompareSpec.make({"job": "digits", **fields}).runs(0)
    return {name: run.samples_per_update for name, run in runs.items()}


def scales(**fields: Any) -> dict[str, float]:
    runs = CompareSpec.make({"job": "digits", **fields}).runs(0)
    return {name: run.learning_rate_scale for name, run in runs.items()}


def test_one_process_takes_as_many_samples_per_update_as_the_first_distributed_variant() -> None:
    assert per_update(workers=4) == {"single": 128, "sync": 128, "async": 32}
    assert per_update(workers=4, modes=["async", "single"]) == {"async": 32, "single": 32}
    assert per_update(vary={"workers": [1, 2]}, modes=["sync", "single"]) == {
        "sync workers=1": 32,
        "sync workers=2": 64,
        "single": 32,
    }
    assert per_update(modes=["single"], batch_size=8) == {"single": 8}
    assert per_update(modes={"single": {"batch_size": 8}, "sync": {}}) == {"single": 8, "sync": 64}
    assert per_update(gpus_per_worker=2, modes=["single", "sync"]) == {"single": 128, "sync": 128}


def test_a_mode_that_is_alone_has_one_worker_whatever_else_is_given() -> None:
    run = RunSpec.make({"job": "digits", "mode": "single", "workers": 4, "min_workers": 2})
    assert (run.workers, run.min_workers, run.samples_per_update) == (1, None, 32)


def test_a_global_batch_size_is_shared_by_the_replicas() -> None:
    assert set(per_update(global_batch_size=96, vary={"workers": [1, 2, 3]}).values()) == {96}
    with pytest.raises(SpecError, match="96 cannot be shared equally by 5 replicas") as caught:
        per_update(global_batch_size=96, workers=5)
    assert (caught.value.field, caught.value.exit_code) == ("global_batch_size", 2)
    with pytest.raises(SpecError, match="10 cannot be shared equally by 3 replicas: give a multiple of 3"):
        per_update(global_batch_size=10, vary={"workers": [1, 3, 4]})
    assert per_update(global_batch_size=64, variants={"a": {"batch_size": 16}, "b": {}}) == {"a": 32, "b": 64}


def test_learning_rates_follow_the_samples_per_update() -> None:
    assert scales(workers=4) == {"single": 1.0, "sync": 1.0, "async": 1.0}
    assert scales(workers=4, lr_scaling="linear") == {"single": 1.0, "sync": 1.0, "async": 0.25}
    assert scales(workers=4, lr_scaling="sqrt") == {"single": 1.0, "sync": 1.0, "async": 0.5}
    growing = scales(modes=["sync"], vary={"workers": [1, 2, 4]}, lr_scaling="linear")
    assert list(growing.values()) == [1.0, 2.0, 4.0]
    assert scales(lr_scaling="linear", global_batch_size=64) == {"single": 1.0, "sync": 1.0, "async": 1.0}
    own = scales(lr_scaling="linear", modes={"sync": {}, "async": {"learning_rate": 0.001}})
    assert own == {"sync": 1.0, "async": 1.0}
