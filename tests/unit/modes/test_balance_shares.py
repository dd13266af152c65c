"""Shares of a step's samples for workers of different speeds, and `--balance` in specs and comparisons."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from workers.modes.balance import shares

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("seconds", "samples", "expected"),
    [
        ([1, 1], 64, (32, 32)),
        ([1, 4], 64, (51, 13)),
        ([1, 3], 64, (48, 16)),
        ([2, 1, 1], 10, (2, 4, 4)),
        ([1, 1000], 64, (63, 1)),
        ([1, 1, 1], 3, (1, 1, 1)),
        ([0, 1], 64, (32, 32)),
        ([math.nan, 1], 63, (32, 31)),
    ],
)
def test_shares_are_proportional_to_speed(seconds: list[float], samples: int, expected: tuple[int, ...]) -> None:
    assert shares(seconds, samples) == expected


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=16), st.integers(1, 64))
def test_every_worker_gets_a_share_and_all_samples_are_shared(seconds: list[float], batch: int) -> None:
    found = shares(seconds, batch * len(seconds))
    assert sum(found) == batch * len(seconds)
    assert min(found) >= 1
    both = list(zip(seconds, found, strict=True))
    assert all(a >= b for s, a in both for t, b in both if s < t)


def test_balance_adds_a_variant_to_a_comparison() -> None:
    spec = CompareSpec.make({"job": "digits", "balance": True})
    assert list(spec.variants) == ["single", "sync", "sync --balance", "async"]
    assert [spec.variant(name, 0).balance for name in spec.variants] == [False, False, True, False]
    assert spec.variant("sync --balance", 0).label == "sync-balance-s0"
    modes = {"async": {}, "sync": {"learning_rate": 0.1}}
    spec = CompareSpec.make({"job": "digits", "balance": True, "modes": modes})
    assert list(spec.variants) == ["async", "sync", "sync --balance"]
    assert spec.variant("sync --balance", 0).learning_rate == 0.1
    with pytest.raises(SpecError, match=r"^balance: is for mode sync"):
        CompareSpec.make({"job": "digits", "balance": True, "modes": ["async"]})


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mode": "async"}, "mode async"),
        ({"gpus_per_worker": 1}, "GPUs"),
        ({"sharding": "off"}, "sharding off"),
    ],
)
def test_specs_that_cannot_be_balanced_are_refused(fields: dict[str, object], word: str) -> None:
    with pytest.raises(SpecError, match=rf"^balance: .*{word}"):
        RunSpec.make({"job": "digits", "balance": True} | fields)
